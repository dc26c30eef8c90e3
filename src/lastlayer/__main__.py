"""``python -m lastlayer`` is the ``lastlayer`` command."""

import sys

from lastlayer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
