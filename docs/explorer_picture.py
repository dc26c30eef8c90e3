"""Take the picture of the explorer that docs/how-to/explore.md shows: run by `make docs`."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from lastlayer.explore import PAGE

WIDTH, HEIGHT, STEPS = 1200, 720, 25


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab = context.new_page()
        for view in ("row", "training"):
            tab.goto(f"{PAGE.as_uri()}#view={view}")
            if view == "training":
                for _ in range(STEPS):
                    tab.click("button:text-is('Step')")
                tab.mouse.wheel(0, 300)
                tab.wait_for_timeout(200)
            tab.screenshot(path=Path(__file__).parent / f"explorer-{view}.png")
        browser.close()


if __name__ == "__main__":
    main()
