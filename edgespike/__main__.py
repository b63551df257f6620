"""`python -m edgespike`."""

import sys

from edgespike.cli import main

if __name__ == "__main__":
    sys.exit(main())
