"""`python -m kosmos2`: the command line without its script."""

import sys

from kosmos2.cli import main

if __name__ == "__main__":
    sys.exit(main())
