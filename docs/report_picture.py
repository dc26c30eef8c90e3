"""Take the picture of the report that README shows: run by `make docs`, after the demonstration.

python docs/report_picture.py digits-report.html
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1200, 960


def main(page: str) -> None:
    out = Path(__file__).parent / "report.png"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab = context.new_page()
        tab.goto(Path(page).resolve().as_uri())
        tab.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
