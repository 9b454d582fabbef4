"""`python -m pruneir.cli`."""

import sys

from pruneir.cli import main

if __name__ == "__main__":
    sys.exit(main())
