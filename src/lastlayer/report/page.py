"""The page. In: an evaluation, another one before calibration, a comparison. Out: HTML as text.

The file needs nothing else: style, script and pictures are in it. Its content security policy allows no
request, and no script but its own. Jinja2 escapes all text of the user's.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from .cells import number_text
from .compared import comparison_section, comparison_tables
from .headline import cards_of, facts_of
from .overview import OPTIONAL
from .sections import number_tables, sections_of

__all__ = ["fragment_of", "page_of"]

_UNDEFINED, _LONGEST = 30, 60  # names shown; characters of a name


def page_of(
    result: Any = None, *, before: Any = None, comparison: Any = None, title: str | None = None
) -> str:
    """The report of an evaluation, of a comparison, or of both."""
    sections = [] if result is None else sections_of(result, before)
    if comparison is not None:
        place = 0 if before is None else 1  # before the details
        sections.insert(place, comparison_section(comparison))
    script = _file("script.js")
    return _rendered(
        "page.html",
        title=title or ("Evaluation" if result is not None else "Comparison of two models"),
        facts=facts_of(result) if result is not None else _facts(comparison),
        cards=[] if result is None else cards_of(result),
        result=result,
        # A saved tally does not have the scores, in which most mistakes are found.
        has_findings=result is not None
        and (bool(result.findings) or getattr(result, "run", None) is not None),
        sections=sections,
        run=_run(result),
        notes=[note for one in (result, comparison) if one is not None for note in _notes(one)],
        style=_file("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def fragment_of(result: Any = None, *, comparison: Any = None) -> str:
    """The numbers alone, for a notebook."""
    if comparison is not None:
        facts, tables, found = _facts(comparison), comparison_tables(comparison), ()
    else:
        facts, tables, found = facts_of(result), number_tables(result), result.findings
    return _rendered("fragment.html", facts=facts, tables=tables, findings=found)


def _facts(comparison: Any) -> list[str]:
    found = [f"{comparison.n:,} {'row' if comparison.n == 1 else 'rows'}"]
    for name in ("ignored", "invalid_a", "invalid_b", "unknown"):
        if count := getattr(comparison, name):
            found.append(f"{count:,} {name.replace('_', ' in ')}")
    found.append(" and ".join(dict.fromkeys(comparison.kind)))
    if comparison.temperature != (1.0, 1.0):
        found.append("temperatures {} and {}".format(*map(number_text, comparison.temperature)))
    return found


def _run(result: Any) -> list[tuple[str, str]]:
    """How the numbers were computed, where that is known."""
    run = getattr(result, "run", None)
    if run is None:
        return []
    found = [("scores", run.source)]
    if run.n_bytes is not None:
        found.append(("bytes read", f"{run.n_bytes:,}"))
    found += [("started", run.started), ("time", f"{number_text(float(run.seconds))} s")]
    return [*found, *((name, str(value)) for name, value in run.versions.items())]


def _notes(one: Any) -> list[str]:
    """What else is to be known of the numbers."""
    found = list(one.notes)
    if names := getattr(one, "unknown_labels", ()):
        shown = ", ".join(repr(str(name)[:_LONGEST]) for name in names[:_UNDEFINED])
        found.append(f"Labels that are no class, counted as wrong: {shown}.")
    undefined = [name for name in getattr(one, "undefined", ()) if name not in OPTIONAL]
    if undefined:
        more = f" and {len(undefined) - _UNDEFINED} more" if len(undefined) > _UNDEFINED else ""
        found.append(f"Undefined: {', '.join(undefined[:_UNDEFINED])}{more}.")
    return found


def _rendered(name: str, **values: Any) -> str:
    from lastlayer import __version__

    return str(_environment().get_template(name).render(version=__version__, **values))


@cache
def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        text = "a report requires Jinja2. You can install it with `pip install lastlayer[report]`"
        raise ImportError(text) from error
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
