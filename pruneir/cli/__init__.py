"""The command line: one file a verb, each of which imports what is slow only when it runs."""

from pruneir.cli.main import main

__all__ = ["main"]
