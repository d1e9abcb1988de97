"""Dummy stages of the tiny project."""
