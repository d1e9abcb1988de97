"""Quantization methods: each makes a plan; `simulate` shows in float what the plan does to a model."""
