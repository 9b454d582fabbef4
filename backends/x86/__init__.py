"""The backend `x86`: a network as one shared library with a bare C interface, for AVX2 and AVX-512."""
