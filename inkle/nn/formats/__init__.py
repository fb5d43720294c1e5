"""File formats as bytes and NumPy arrays: no Tensor, no device, nothing executed from a file."""
