"""Pruning: fewer weights, one by one or by whole channels."""
