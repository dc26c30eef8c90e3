"""The explorer: softmax and cross-entropy to try in a browser, one HTML file that needs nothing else.

The file is built from the sources in explorer/ by `make explorer`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["PAGE"]

#: The page; the state that it opens with can be added to its address after "#".
PAGE = Path(__file__).with_name("explorer.html")
