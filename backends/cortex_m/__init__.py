"""Bare metal on ARM Cortex-M: a network as a small C project with static memory, run and measured in QEMU."""
