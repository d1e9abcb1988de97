"""Distillation: train a small network from a large one."""
