"""Measuring one thing at a time: quality, flips, latency, size, compute, memory, energy, machine."""
