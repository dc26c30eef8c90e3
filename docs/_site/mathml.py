"""Formulas as MathML, which browsers draw themselves. In: TeX, as Sphinx reads it. Out: a `<math>` element.

docutils translates it, without a network, a script or a font. TeX that it cannot translate is a warning,
and so an error of `make site`.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def translated(node: Any, as_block: bool) -> str:
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{nodes.unescape(node.astext())}</code>"


def inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(translated(node, as_block=False))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    # A wide formula is scrolled, by keyboard too.
    self.body.append(self.starttag(node, "div", CLASS="math formula", tabindex="0"))
    self.body.append(translated(node, as_block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
