"""The links of the built site. In: its folder. Out: what each page links to and loads.

As a script it prints the links to other places:

python docs/_site/links.py build/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
RELATIONS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "manifest",
}


class Page(HTMLParser):
    """A page: the anchors that it has, what it links to, what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag in ("a", "area") and "href" in values:
            self.links.append(values["href"])
        if LOADED.get(tag) in values:
            self.loads.append(values[LOADED[tag]])
        if tag == "link" and RELATIONS & set(values.get("rel", "").split()):
            self.loads.append(values["href"])


def read(folder: Path) -> dict[Path, Page]:
    """Every page of the site, by its resolved path; templates among the theme's files are none."""
    paths = [
        path for path in sorted(folder.rglob("*.html")) if "_static" not in path.relative_to(folder).parts
    ]
    return {path.resolve(): Page(path) for path in paths}


def is_elsewhere(link: str) -> bool:
    return bool(urlsplit(link).scheme or urlsplit(link).netloc)


def broken(pages: dict[Path, Page]) -> list[str]:
    """The links within the site that lead to no file, or to no anchor of a page."""
    found = []
    for page in pages.values():
        for link in page.links + page.loads:
            if is_elsewhere(link):
                continue
            parts = urlsplit(link)
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            anchor = "" if target.name == "explorer.html" else unquote(parts.fragment)  # there it is a state
            if not target.is_file() or (target in pages and anchor and anchor not in pages[target].anchors):
                found.append(f"{page.path.name}: {link}")
    return found


def elsewhere(pages: dict[Path, Page]) -> dict[str, list[str]]:
    """The links that leave the site, each with the pages that have it."""
    found: dict[str, list[str]] = {}
    for page in pages.values():
        for link in filter(is_elsewhere, page.links):
            found.setdefault(link, []).append(page.path.name)
    return found


if __name__ == "__main__":
    for link, names in sorted(elsewhere(read(Path(sys.argv[1]))).items()):
        print(link, *sorted(set(names)))
