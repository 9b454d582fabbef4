"""Training of the graph itself: a differentiable interpreter, losses, penalties, the loop, and the way back to a file.

torch, the extra `train`, is imported where training begins and not with this package.
"""
