"""How Sphinx builds the site. In: the Markdown pages, and the docstrings. Out: `make site` writes build/site.

Formulas become MathML while the site is built (`_site/mathml.py`), so that no page needs a script or a font
for them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "_site"))

project = "lastlayer"
author = "The lastlayer developers"
project_copyright = author
version = release = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)[1]
language = "en"

extensions = [
    "mathml",
    "roots",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
exclude_patterns = ["_site", "**/.ipynb_checkpoints"]
highlight_language = "none"  # literal blocks are formulas and commands; code says its language
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"(sklearn|torch)\..*")]  # names of other libraries, without a link

# Markdown
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4  # the anchors that GitHub gives headings
nb_execution_mode = "off"  # the tests execute notebooks

# Docstrings
autodoc_typehints = "none"  # the parameters' types are in the docstrings, in words
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "autolink"

# HTML
html_theme = "pydata_sphinx_theme"
html_title = "lastlayer"
html_favicon = "_site/static/icon.svg"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": [], "overview": []}
html_context = {"default_mode": "auto"}  # light or dark as the system is
html_theme_options = {
    "logo": {"text": "lastlayer"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
EXPLORER = ROOT / "src" / "lastlayer" / "explore" / "explorer.html"
if EXPLORER.exists():
    html_extra_path = [str(EXPLORER)]
