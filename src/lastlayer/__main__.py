"""``python -m lastlayer`` is the ``lastlayer`` command."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
