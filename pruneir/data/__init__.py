"""Data to calibrate on, to compare, score and train on: samples read batch by batch, with or without labels.

A *source* (one file a kind: arrays, images, entry) gives samples as they lie there, fitted to the graph's inputs;
`Data` makes of them the batches that the network takes. Nothing is read before it is asked for, or held longer.
"""

from pruneir.data.data import Batch, Data
from pruneir.data.fitting import Feeds
from pruneir.data.load import Given, from_arrays, load_data
from pruneir.data.scaling import Scaling

__all__ = ["Batch", "Data", "Feeds", "Given", "Scaling", "from_arrays", "load_data"]
