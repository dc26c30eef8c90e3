"""A figure of matplotlib -> SVG inside HTML. In: a figure, and what its artists stand for. Out: markup.

Colours of the palette become variables of the page's style, so that a picture follows light and dark. Each
artist that stands for a value gets its text as ``<title>``, which is shown on hover and read aloud. Text
stays text, in the fonts of the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from lastlayer.plots import colors

__all__ = ["VARIABLES", "svg_of"]

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# The variables of `style.css`, by the colours that they stand for in a figure.
VARIABLES = {
    getattr(colors, name): f"var(--{name.lower()})"
    for name in ("INK", "MUTED", "PAPER", "FIRST", "SECOND", "GOOD", "BAD", "FAINT")
}
_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINK = re.compile(r"url\(#([^)]*)\)")


def svg_of(figure: Any, shown: Sequence[tuple[Any, str]], *, name: str, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    shown : pairs (artist, text)
        Artists that stand for one value, with what they say.
    name : str
        Begins the ids of all elements, so that they are unique on the page.
    title, description : str
        What the picture is, for screen readers.
    """
    texts = {}
    for i, (artist, text) in enumerate(shown):
        artist.set_gid(f"value{i}")
        texts[f"value{i}"] = text
    root = ElementTree.fromstring(_NOT_IN_XML.sub("\ufffd", _drawn(figure)))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata"):
                parent.remove(child)
    for element in root.iter():
        _adapt(element, name, texts)
    _label(root, name, title, description)
    ElementTree.register_namespace("", _SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    return text.replace(f' xmlns="{_SVG}"', "", 1)


def _drawn(figure: Any) -> str:
    """The SVG text that matplotlib writes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lastlayer"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return file.getvalue()


def _adapt(element: Any, name: str, texts: dict[str, str]) -> None:
    """The colours, ids and links of an element, and its text if it stands for a value."""
    element.tag = element.tag.rpartition("}")[2]
    found = element.attrib
    if (link := found.pop(f"{{{_XLINK}}}href", None)) is not None:
        found["href"] = f"#{name}-{link[1:]}" if link[:1] == "#" else link
    for key in ("style", "clip-path", "fill", "stroke"):
        if key in found:
            found[key] = _LINK.sub(rf"url(#{name}-\1)", _coloured(found[key]))
    text = texts.get(found.get("id", ""))
    if "id" in found:
        found["id"] = f"{name}-{found['id']}"
    if text is not None:
        found |= {"role": "img", "aria-label": text, "class": "mark"}
        del found["id"]
        shown = ElementTree.Element("title")
        shown.text = text
        element.insert(0, shown)


def _coloured(style: str) -> str:
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, variable)
    return style


def _label(root: Any, name: str, title: str, description: str) -> None:
    """The name and the description of the picture; its size is that of the page's column."""
    root.attrib = {
        "viewBox": root.get("viewBox"), "role": "group", "aria-labelledby": f"{name}-title",
        "aria-describedby": f"{name}-desc", "xmlns": _SVG,
    }  # fmt: skip
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(place, element)
