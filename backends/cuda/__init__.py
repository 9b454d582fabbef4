"""NVIDIA GPUs: kernels as machine code in one shared library, built on any machine with CUDA's compiler."""
