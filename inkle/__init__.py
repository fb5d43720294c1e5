"""inkle: lazy tensors, compiled into a few fast kernels."""
