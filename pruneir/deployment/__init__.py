"""From a network to an artifact that fits a machine and computes the same: compile, hold to budgets, compare, measure.

    Graph ──prepared──▶ Graph ──Backend.compile──▶ folder ──Artifact──▶ outputs, Profile

What a backend need not do itself is done here: sizes fixed, BatchNorms folded, the folder put in its place whole.
"""
