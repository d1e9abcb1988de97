"""What a model is fed and judged on: batches of named tensors, samples, splits, and how a net takes and gives them."""
