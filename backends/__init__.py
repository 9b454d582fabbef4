"""Code generators, one folder a machine, found through the entry-point group `pruneir.backends`."""
