"""From a graph to a list of C functions without a runtime: what backends that write C share."""
