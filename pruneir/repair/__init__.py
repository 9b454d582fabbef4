"""What a cut took from a network, given back without training: from a few samples, or from the weights alone."""

from pruneir.repair.merging import Merged, merge
from pruneir.repair.reconstruct import Options, Repaired, repair_from_data
from pruneir.repair.sites import Site, Sites, find_sites

__all__ = ["Merged", "Options", "Repaired", "Site", "Sites", "find_sites", "merge", "repair_from_data"]
