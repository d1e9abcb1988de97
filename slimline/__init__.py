"""Slimline: the nightly compression line for PyTorch models."""

__version__ = "0.1.0"
