"""Rewrite passes, one file each, found through the entry-point group `pruneir.passes`."""
