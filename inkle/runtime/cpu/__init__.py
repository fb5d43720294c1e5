"""The CPU: LLVM IR in, kernels run by worker threads that wait in native code."""
