"""The explorer in a browser: what it asks for and says, keyboard, touch, light and dark, narrow."""

import pytest
from browser import luminance, serious_findings

VIEWS = ["row", "numbers", "mistakes", "training", "questions"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_silent_narrow_and_accessible(visit, view):
    """Nothing is asked for or said, nothing is wider than a telephone, axe-core finds nothing serious."""
    seen = visit(f"#view={view}", width=390)
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        assert (luminance(seen.page, "body") > 0.5) == (scheme == "light")
        serious, passed = serious_findings(seen.page)
        assert serious == []
        assert passed > 20
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert [url.partition("#")[0] for url in seen.asked] == [seen.path.as_uri()]
    assert seen.said == []


def test_a_script_that_is_not_the_page_s_own_does_not_run(visit):
    seen = visit()
    seen.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=1\">')"
    )
    seen.page.wait_for_timeout(50)
    assert seen.page.evaluate("window.hit") is None
    assert any("Content Security Policy" in text for text in seen.said)


def card(page, title):
    return page.inner_text(f".cards li:has(h3:text-is('{title}')) .value")


def test_the_address_holds_the_state(visit):
    anchor = "#view=row&z=1,-Infinity,2.5&y=2&T=2&cap=30&eps=0.1&w=1,0,3"
    page = visit(anchor).page
    shown = card(page, "Loss")
    assert shown == page.evaluate(
        """explorer.text(explorer.explain({ logits: [1, -Infinity, 2.5], target: 2, temperature: 2,
           softcap: 30, smoothing: 0.1, weights: [1, 0, 3] }).loss)"""
    )
    page.fill("input[id]:near(:text('Temperature'))", "4")
    page.wait_for_function("() => location.hash.includes('T=4')")
    assert "z=1,-Infinity,2.5" in page.evaluate("location.hash")


@pytest.mark.parametrize(
    "anchor",
    [
        "#view=none",
        "#view=row&z=x&y=9",
        "#z=&T=-1",
        "#w=1&q=1,2&y=1.5",
        "#%",
        "#view=training&weights=1&points=9:0:0&set=x",
    ],
)
def test_an_address_that_says_nonsense_opens_the_default(visit, anchor):
    seen = visit(anchor)
    assert card(seen.page, "Mean loss" if "training" in anchor else "Loss")
    assert seen.said == []


def test_bars_move_by_keyboard_and_by_touch(visit):
    page = visit(has_touch=True).page
    bar = page.get_by_role("slider", name="logit of class 0")
    bar.focus()
    before = float(bar.get_attribute("aria-valuenow"))
    page.keyboard.press("ArrowUp")
    assert float(bar.get_attribute("aria-valuenow")) > before
    page.keyboard.press("Home")
    assert float(bar.get_attribute("aria-valuenow")) == -5
    box = bar.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 10)
    assert float(bar.get_attribute("aria-valuenow")) > 4


def test_a_bar_is_dragged(visit):
    page = visit().page
    box = page.get_by_role("slider", name="logit of class 1").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(x, y - 10 * step)
    page.mouse.up()
    assert float(page.get_by_role("textbox", name="logit of class 1").input_value()) > 2


def test_what_is_no_number_is_marked_and_not_taken(visit):
    page = visit().page
    field = page.get_by_role("textbox", name="logit of class 0")
    shown = card(page, "Loss")
    field.fill("four")
    assert field.get_attribute("aria-invalid") == "true"
    assert page.is_visible("text=expected a number, inf or -inf")
    assert card(page, "Loss") == shown
    field.fill("-inf")
    assert field.get_attribute("aria-invalid") is None
    assert float(card(page, "Loss")) < float(shown)


def test_the_result_is_announced(visit):
    page = visit().page
    page.get_by_role("textbox", name="logit of class 2").fill("0.5")
    page.wait_for_function(
        "() => document.querySelector('[aria-live]').textContent.includes('has probability 0.3')"
    )


def test_code_is_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"]).page
    page.click("summary:text('Copy as code')")
    page.click("button:text-is('Copy')")
    page.wait_for_selector("text=Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("pre")
