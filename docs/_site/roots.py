"""The pages above docs/ as pages of the site. In: a page that is one link to such a page. Out: its text.

Links are those of the file on GitHub: links from the root into docs/, and from docs/ to a page at the root or
to the explorer, are changed to lead to the site's pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PAGES = {"README.md": "overview.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
ONE_LINK = re.compile(r"\s*\[[^\]]+\]\(\.\./(" + "|".join(map(re.escape, PAGES)) + r")\)\s*")
EXPLORER = re.compile(r"\[([^\]]+)\]\((?:\.\./)*src/lastlayer/explore/explorer\.html(#[^)\s]*)?\)")
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")


def from_the_root(link: str) -> str:
    """A link of a page at the root, as one of a page in docs/."""
    if link in PAGES:
        return PAGES[link]
    return link.removeprefix("docs/") if link.startswith("docs/") else f"../{link}"


def from_docs(link: str) -> str:
    """A link of a page in docs/ to one at the root, as a link to the site's page."""
    ups, name = re.fullmatch(r"((?:\.\./)*)(.*)", link).groups()
    return ups.removesuffix("../") + PAGES[name] if ups and name in PAGES else link


def to_explorer(text: str, up: str) -> str:
    """Links to the explorer lead to its copy in the site; what is behind the # is the state that it shows."""
    return EXPLORER.sub(rf'<a class="reference" href="{up}explorer.html\2">\1</a>', text)


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    up = "../" * docname.count("/")
    if match := ONE_LINK.fullmatch(content[0]):
        path = Path(app.srcdir).parent / match[1]
        app.env.note_dependency(str(path))
        content[0] = to_explorer(path.read_text(encoding="utf-8"), up)
        content[0] = LINK.sub(lambda link: from_the_root(link[1]), content[0])
    elif str(app.env.doc2path(docname)).endswith(".md"):
        content[0] = LINK.sub(lambda link: from_docs(link[1]), to_explorer(content[0], up))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
