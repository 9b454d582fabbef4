"""Detectors: boxes, anchors, what heads say in boxes, and mean average precision. Boxes are [x0, y0, x1, y1]."""
