"""Run the worked page's Python blocks and write what they print into the page, below each block.

A ``python`` block is run; its output, printed or the value of a last expression, becomes the ``text``
block that follows it. All blocks of a page share their names. With ``--check`` nothing is written, and a
page that differs from its own execution is status 1.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

PAGES = [Path(__file__).parent / "worked" / "softmax-and-cross-entropy.md"]
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def executed(page: str) -> str:
    """Return the page with the output of each block as it is now."""
    names: dict[str, Any] = {}

    def rerun(match: re.Match[str]) -> str:
        code = match["code"]
        output = run(code, names)
        shown = f"\n```text\n{output}```\n" if output else ""
        return f"```python\n{code}```\n{shown}"

    return BLOCK.sub(rerun, page)


def run(code: str, names: dict[str, Any]) -> str:
    """Run the code among the names and return its output, the value of a last expression included."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(tree, "<page>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<page>", "eval"), names)
            if value is not None:
                print(repr(value))
    return output.getvalue()


def main(argv: list[str]) -> int:
    status = 0
    for path in PAGES:
        committed = path.read_text(encoding="utf-8")
        page = executed(committed)
        if page == committed:
            continue
        if "--check" in argv:
            print(f"{path.name} differs from its own execution; run: make docs", file=sys.stderr)
            status = 1
        else:
            path.write_text(page, encoding="utf-8")
            print(f"wrote {path.name}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
