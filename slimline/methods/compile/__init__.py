"""Compilers: one file a runtime, each lowers a float model and its quantization plan to that runtime's graph."""
