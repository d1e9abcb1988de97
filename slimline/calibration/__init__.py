"""What real samples do inside a model: activation statistics, and how much each layer minds being compressed."""
