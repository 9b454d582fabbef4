"""Lossless clean-up: what `fold` and `fold-bn` are made of."""
