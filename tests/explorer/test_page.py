"""The explorer in a browser: what it asks for and says, keyboard, touch, light and dark, narrow."""

import pytest
from browser import luminance, serious_findings

VIEWS = ["row", "numbers", "mistakes", "training", "questions"]


# Rows of a table and points of a picture are alike: a few of each are enough.
EXCLUDED = ["tbody tr:nth-child(n + 3)", ".point ~ .point ~ .point"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_silent_narrow_and_accessible(visit, view):
    """Nothing is asked for or said, nothing is wider than a telephone, axe-core finds nothing serious."""
    seen = visit(f"#view={view}", width=390)
    assert luminance(seen.page, "body") > 0.95
    serious, passed = serious_findings(seen.page, EXCLUDED)
    assert serious == []
    assert passed > 20
    seen.page.emulate_media(color_scheme="dark")
    assert luminance(seen.page, "body") < 0.1
    assert serious_findings(seen.page, EXCLUDED, rules=["color-contrast"]) == ([], 1)
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


def test_back_returns_to_the_view_before(visit):
    page = visit("#view=row&z=1,2,3").page
    page.click("nav a:text-is('Mistakes')")
    assert page.inner_text("h2") == "Mistakes"
    page.go_back()
    page.wait_for_function("() => document.querySelector('h2').textContent === 'One row'")
    assert page.get_by_role("textbox", name="logit of class 2").input_value() == "3"


# As docs/worked prints them: the name of a worked number, the title of a card, and what it shows.
WORKED = [
    ("0.1, 0.9, 4.0", "Probability of class 2", 0.93871054),
    ("0.1, 0.9, 3.0: what a tutorial printed for 4.0", "Probability of class 2", 0.84927158),
    ("2.0, 1.0, 0.1: to check by hand", "Probability of class 0", 0.65900114),
    ("102.0, 101.0, 100.1: the same, shifted", "Probability of class 0", 0.65900114),
    ("1000, 1001, 1002: stable", "Probability of class 2", 0.66524096),
    ("1000, 1001, 1002: the textbook formula", "Loss, textbook formula", float("nan")),
    ("0.1, 0.1, 0.8, class 2: 0.22314355", "Loss", 0.22314355),
    ("0.8, 0.1, 0.1, class 2: 2.30258509", "Loss", 2.30258509),
    ("0.7, 0.2, 0.1, class 0: 0.35667494", "Loss", 0.35667494),
    ("1.0, 1.1, 2.5, class 2: 0.3850768", "Loss", 0.3850768),
    ("3.2, 0.2, 0.9, class 2: 2.4398019", "Loss", 2.4398019),
    ("0, 20, class 1: 2.061154e-09", "Loss", 2.061154e-09),
    ("0, 20, class 1: 0 by the textbook formula", "Loss, textbook formula", 0.0),
    ("0.1, 0.9, 4.0, class 1: the gradient", "Loss", 3.1632481),
    ("softmax first: 0.7254601 for 0.2850904", "Wrong loss", 0.7254601),
    ("softmax first: 1.4545170 for 2.8900697", "Right loss", 2.8900697),
    ("one-hot targets with class weights: 0.5418083 for 0.3250850", "Right loss", 0.3250850),
    ("one-hot row for a batch: 2.1517570 for 0.2850904", "Wrong loss", 2.1517570),
]


def test_worked_numbers_are_shown(visit):
    page = visit().page
    for name, title, expected in WORKED:
        page.select_option(".presets select", label=name)
        shown = float(card(page, title))
        # The page shows 7 digits; docs/worked prints some in float32.
        assert shown == pytest.approx(expected, rel=5e-7, nan_ok=True), name


def test_the_tutorial_s_losses_divided_by_the_classes_are_shown(visit):
    text = visit("#view=mistakes&m=classes").page.inner_text("main")
    assert "0.07438118 and 0.7675284" in text
