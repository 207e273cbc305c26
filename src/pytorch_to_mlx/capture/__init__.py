"""Any PyTorch module to MLX source that a person would have written, with the proof that it computes the same."""
