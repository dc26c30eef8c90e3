"""The report in a browser: what it asks for and says, light and dark, narrow and printed, by keyboard."""

import pytest
from browser import luminance, serious_findings

FULL = ("ten", "thousand", "names", "nan", "ignored", "one", "groups", "positions", "binary", "both")


@pytest.mark.parametrize("case", FULL)
def test_nothing_is_asked_for_and_nothing_is_said(visit, case):
    seen = visit(case)
    assert seen.asked == [seen.path.as_uri()]
    assert seen.said == []
    assert seen.page.evaluate("window.hit") is None  # no text of a label has run


def test_a_script_that_is_not_the_page_s_own_does_not_run(visit):
    """The content security policy, were a text ever not escaped."""
    seen = visit("ten")
    seen.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=1\">')"
    )
    seen.page.wait_for_timeout(50)
    assert seen.page.evaluate("window.hit") is None
    assert any("Content Security Policy" in text for text in seen.said)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("case", ["ten", "names", "thousand", "long"])
def test_nothing_is_wider_than_the_window(visit, case, width):
    page = visit(case, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_name_has_three_lines_at_most_and_is_found_whole(visit, width):
    page = visit("long", width=width).page
    heights = page.eval_on_selector_all("#classes-table-0 tbody tr", "e => e.map((r) => r.offsetHeight)")
    assert len(heights) == 4
    assert max(heights) < 100
    assert page.locator("#classes-table-0 tbody th").nth(2).text_content() == "x" * 540
    assert page.locator("#classes-table-0 .long").nth(2).get_attribute("title") == "x" * 540


@pytest.mark.parametrize("table", ["calibrated-table-0", "compared-table-0", "classes-table-0"])
def test_tables_beside_a_picture_are_seen_whole(visit, table):
    page = visit("both").page
    box = page.locator(f"div.scroll:has(#{table})")
    assert box.evaluate("e => e.scrollWidth - e.clientWidth") <= 0


def colours(page):
    """The colours of the picture's texts and lines, as they are shown."""
    return page.evaluate(
        """() => [...document.querySelectorAll("figure svg text, figure svg path")].map((e) => {
          const style = getComputedStyle(e); return style.fill + style.stroke })"""
    )


def test_the_page_and_its_pictures_follow_light_and_dark(visit):
    light, dark = (visit("ten", scheme=scheme).page for scheme in ("light", "dark"))
    assert luminance(light, "body") > 0.95
    assert luminance(dark, "body") < 0.1
    pairs = list(zip(colours(light), colours(dark), strict=True))
    assert len(pairs) > 100
    assert sum(a != b for a, b in pairs) > 0.95 * len(pairs)


# Rows of a table and values of a picture are alike: a few of each are enough.
EXCLUDED = ["tbody tr:nth-child(n + 4)", "svg .mark ~ .mark ~ .mark ~ .mark"]


@pytest.mark.parametrize(("case", "scheme"), [("both", "light"), ("both", "dark"), ("groups", "light")])
def test_axe_finds_nothing_serious(visit, case, scheme):
    page = visit(case, scheme=scheme).page
    serious, passed = serious_findings(page, EXCLUDED)
    assert serious == []
    assert passed > 20


def test_anchors_lead_to_their_sections(visit):
    page = visit("ten", reduced_motion="reduce").page
    for link in page.query_selector_all("nav a"):
        target = link.get_attribute("href")[1:]
        link.click()
        page.wait_for_function(
            "id => Math.abs(document.getElementById(id).getBoundingClientRect().top) < innerHeight",
            arg=target,
        )
        assert page.evaluate("location.hash") == f"#{target}"


def column(page, table, k):
    return page.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden])", f"rows => rows.map((row) => row.cells[{k}].textContent)"
    )


def test_a_table_is_sorted_by_keyboard(visit, report):
    page = visit("ten").page
    table, losses = "classes-table-0", report("ten")[0].loss_by_class
    head = page.query_selector(f"#{table} thead th:nth-child(3)")
    assert head.inner_text().startswith("loss")
    head.query_selector("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    order = (-losses).argsort(kind="stable")
    assert column(page, table, 0) == [str(k) for k in order]
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, table, 0) == [str(k) for k in order[::-1]]


def test_names_are_sorted_as_names_and_undefined_numbers_come_last(visit):
    page = visit("never").page
    heads = page.query_selector_all("#classes-table-0 thead button")
    heads[0].click()
    assert column(page, "classes-table-0", 0) == ["a", "b", "c"]
    precision = [h.inner_text() for h in heads].index("precision")
    for _ in range(2):  # class c is never predicted
        heads[precision].click()
        assert column(page, "classes-table-0", 0)[-1] == "c"


def test_classes_are_found_by_name(visit):
    page = visit("thousand").page
    page.fill("#classes-table-0-search", "98")
    names = [name for name in map(str, range(1000)) if "98" in name]
    assert column(page, "classes-table-0", 0) == names
    assert (
        page.inner_text("#classes .search:has(#classes-table-0-search) .found")
        == f"{len(names)} of 1000 rows"
    )
    page.fill("#classes-table-0-search", "")
    assert len(column(page, "classes-table-0", 0)) == 1000


def test_a_value_says_its_number(visit):
    """On hover, which shows the title, and for screen readers, which read the label."""
    page = visit("ten").page
    marks = page.query_selector_all("#calibration figure:first-child .mark")
    assert len(marks) >= 10
    for mark in marks:
        title = mark.query_selector("title").text_content()
        assert mark.get_attribute("aria-label") == title
        assert "confidence" in title


def test_print_has_all_sections_and_no_navigation(visit):
    page = visit("ten", scheme="dark").page
    page.emulate_media(media="print")
    assert luminance(page, "body") > 0.95
    assert not page.is_visible("nav")
    assert not page.is_visible("summary")
    arrow = "e => getComputedStyle(e, '::after').content"
    assert page.eval_on_selector("#classes-table-0 th button", arrow) == '""'
    display = "e => getComputedStyle(e).display"  # of a block the head stands on the first page alone
    assert page.eval_on_selector("#classes-table-0 th button", display) == "contents"
    wide = page.evaluate("document.querySelector('#confusion svg').getBoundingClientRect().width")
    assert wide > 400  # a picture alone is not half as wide as the page
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_the_page_is_whole_without_scripts(visit):
    page = visit("ten", java_script_enabled=False).page
    assert page.is_visible("#classes-table-0")
    assert page.locator("#classes-table-0 tbody tr").count() == 10
