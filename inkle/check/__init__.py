"""Independent meaning of graphs and kernels: NumPy definitions, detectors, proofs, fuzzers."""
