"""Micro-kernels in assembly: a register tile of multiply-adds, written for the registers that a CPU has."""
