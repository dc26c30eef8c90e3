"""``python -m lastlayer`` is the ``lastlayer`` command."""

import sys

from lastlayer.cli import main

if __name__ == "__main__":
    sys.exit(main())
