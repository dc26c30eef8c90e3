"""The report as text: numbers, links, escapes, sizes, and evaluations of every shape."""

import re
from html.parser import HTMLParser

import numpy as np
import pages
import pytest

import lastlayer as ll
from lastlayer.evaluation.paired import Paired
from lastlayer.plots import colors
from lastlayer.report.cells import cell, estimate_cells, number_text
from lastlayer.report.compared import verdict
from lastlayer.report.page import page_of


class Read(HTMLParser):
    """The elements of a page, and the text of its tables' cells."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.refers, self.cells, self.texts = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        for name in ("href", "src", "xlink:href"):
            if name in found:
                self.links.append(found[name])
        for name in ("aria-labelledby", "aria-describedby", "for", "data-table"):
            self.refers += found.get(name, "").split()
        self.refers += re.findall(r"url\(#([^)]*)\)", " ".join(v or "" for v in found.values()))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(params=sorted(pages.CASES))
def case(request, report):
    result, path = report(request.param)
    return result, path.read_text(encoding="utf-8")


def test_every_evaluation_has_a_page(case):
    result, text = case
    read = Read(text)
    assert read.tags.count("h1") == 1
    assert read.tags.count("figure") >= 4
    assert read.tags.count("svg") == read.tags.count("figure")
    assert f"{result.n:,} row" in text


def test_links_lead_within_the_page(case):
    _, text = case
    read = Read(text)
    assert sorted(read.ids) == sorted(set(read.ids))
    inside = [link[1:] for link in read.links if link.startswith("#")]
    assert len(inside) > 8
    assert {link for link in read.links if not link.startswith(("#", "data:image/png;base64,"))} == set()
    assert set(inside) | set(read.refers) <= set(read.ids)


def test_pictures_have_the_colours_of_the_page(case):
    _, text = case
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    known = {v.lower() for k, v in vars(colors).items() if k.isupper()}
    for picture in pictures:
        assert set(re.findall(r"#[0-9a-f]{6}\b", picture.lower())) == set()
        assert "var(--ink)" in picture
        assert "<metadata" not in picture
    assert len(known) == 8


def test_the_page_is_the_same_each_time(report):
    result, path = report("groups")
    assert page_of(result).encode("utf-8", "replace") == path.read_bytes()


def test_numbers_of_the_page_are_those_of_the_evaluation(report):
    result, path = report("ten")
    text = path.read_text(encoding="utf-8")
    for name in ("log_loss", "accuracy", "brier", "mean_reciprocal_rank"):
        value = getattr(result, name)
        row = re.search(rf"<th scope=\"row\">{name}</th>(.*?)</tr>", text).group(1)
        found = [float(part) for part in re.findall(r">([^<>]+)</td>", row)[:3]]
        assert np.allclose(found, [value.value, value.low, value.high], atol=value.stderr / 10)
    table = text[text.index('<table id="classes-table-0"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)[1:]
    assert len(rows) == 10
    for k, row in enumerate(rows):
        support, loss, precision = re.findall(r">([^<>]+)</td>", row)[:3]
        assert int(support) == result.by_class.support[k]
        assert abs(float(loss) - result.loss_by_class[k]) < 1e-3
        assert abs(float(precision) - result.by_class.precision[k]) < 1e-3


def test_names_stay_text(report):
    read = Read(report("names")[1].read_text(encoding="utf-8"))
    assert read.tags.count("script") == 1
    assert "img" not in read.tags
    text = "".join(read.texts)
    assert "<script>window.hit = 1</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "&amp; &lt;" in text


def test_sizes(report):
    """Bytes: 500 kB for 10 classes with all that can stand beside them, 3 MB for 1000."""
    assert report("both")[1].stat().st_size < 500_000
    assert report("thousand")[1].stat().st_size < 3_000_000


def test_a_vocabulary_has_a_page():
    z, y = pages.scores(300, 3000)
    tally = ll.Tally(128_256)
    wide = np.full((300, 128_256), -30.0, np.float32)
    wide[:, :3000] = z
    tally.update(wide, y)
    text = page_of(tally.result())
    assert "classes that have rows, of 128,256." in text
    assert len(text) < 3_000_000


def test_findings_are_shown_where_they_were_looked_for():
    z, y = pages.scores(50, 4)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert "probabilities-as-logits" in page_of(ll.evaluate(p, y))
    assert "None of the mistakes" in page_of(ll.evaluate(z, y))
    tally = ll.Tally(4)
    tally.update(z, y)
    assert "None of the mistakes" not in page_of(tally.result())


def test_a_comparison_alone_and_in_a_report(report):
    z, y = pages.scores(300, 5)
    result = ll.compare(z, z + pages.scores(300, 5, 1)[0], y, groups=np.arange(300) % 3)
    text = page_of(comparison=result, title="A & B")
    assert f"p = {number_text(result.mcnemar)}" in text
    assert "b is worse in log-loss" in text
    assert "<h1>A &amp; B</h1>" in text
    assert "these rows do not show which model is better" in page_of(comparison=ll.compare(z, z, y))
    both = report("both")[1].read_text(encoding="utf-8")
    assert '<section id="compared"' in both
    assert '<section id="calibrated"' in both


def test_what_is_of_other_rows_is_refused(tmp_path):
    z, y = pages.scores(50, 4)
    result, fewer = ll.evaluate(z, y), ll.evaluate(z[:40], y[:40])
    with pytest.raises(ll.OptionError, match="before is of 40 rows; expected of the same 50 rows"):
        result.save_html(tmp_path / "a.html", before=fewer)
    with pytest.raises(ll.OptionError, match="comparison is of 40 rows"):
        result.save_html(tmp_path / "a.html", comparison=ll.compare(z[:40], z[:40], y[:40]))
    with pytest.raises(ll.OptionError, match="before is a dict"):
        result.save_html(tmp_path / "a.html", before={})
    with pytest.raises(ll.OptionError, match="path"):
        result.save_html(tmp_path / "none" / "a.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1234567, "1,234,567"), (0.0, "0"), (-0.0, "0"), (0.123456, "0.1235"), (12345.6, "12,346"),
        (1e-7, "1.0e-07"), (3e12, "3.000e+12"), (float("nan"), "\N{EN DASH}"), (float("inf"), "∞"),
        (float("-inf"), "-∞"), (np.float32(0.5), "0.5"), (None, "\N{EN DASH}"), ("a", "a"),
    ],
)  # fmt: skip
def test_cells(value, text):
    assert cell(value).text == text


def test_an_estimate_has_the_digits_of_its_error():
    found = estimate_cells(ll.Estimate(0.123456, 0.0123, 0.0993, 0.1476))
    assert [one.text for one in found] == ["0.123", "0.099", "0.148"]
    assert [one.text for one in estimate_cells(ll.Estimate(float("nan")))] == ["\N{EN DASH}", "", ""]
    assert [one.text for one in estimate_cells(ll.Estimate(np.inf))] == ["∞", "", ""]


def test_an_interval_is_shown_where_the_standard_error_is_0():
    """All rows are right, or no row has flipped: the interval has a width."""
    z = np.eye(4)[np.arange(40) % 4] * 9
    found = ll.evaluate(z, np.arange(40) % 4).accuracy
    assert found.stderr == 0
    low = 1 / (1 + 1.959963984540054**2 / 40)  # Wilson's interval of 40 of 40
    assert [one.text for one in estimate_cells(found)] == ["1.000", f"{low:.3f}", "1.000"]
    same = ll.compare(z, 2 * z, np.arange(40) % 4).accuracy.difference
    assert [one.text for one in estimate_cells(same)] == ["0.000", f"{same.low:.3f}", f"{same.high:.3f}"]
    assert [one.text for one in estimate_cells(ll.Estimate(0.0, 0.0, 0.0, 0.0))] == ["0", "0", "0"]


def estimate(low, high):
    return ll.Estimate((low + high) / 2, (high - low) / 4, low, high)


def test_the_verdict_names_what_the_rows_decide():
    class Found:
        log_loss = Paired(estimate(0, 1), estimate(0, 1), estimate(-2.0, -1.0))
        brier = Paired(estimate(0, 1), estimate(0, 1), estimate(0.1, 0.2))
        accuracy = Paired(estimate(0, 1), estimate(0, 1), estimate(-0.1, 0.2))

    assert verdict(Found) == (
        "b is better in log-loss and worse in Brier score: the 95 % intervals exclude 0. In accuracy the "
        "interval includes 0: these rows do not show which model is better in this number."
    )
    nothing = ll.Estimate(np.nan)
    Found.log_loss = Found.brier = Paired(nothing, nothing, nothing)
    Found.accuracy = Paired(estimate(0, 1), estimate(0, 1), estimate(0.1, 0.2))
    assert verdict(Found) == (
        "b is better in accuracy: the 95 % interval excludes 0. The difference in log-loss and Brier "
        "score has no interval."
    )


def test_a_page_of_a_comparison_says_what_was_not_valid():
    z, y = pages.scores(40, 3)
    b = z.copy()
    b[4, 1] = np.nan
    text = page_of(comparison=ll.compare(z, b, y, temperature=(1, 2)))
    assert "40 rows · 1 invalid in b · logits · temperatures 1 and 2" in text
    assert "The difference in log-loss and Brier score has no interval." in text


def test_undefined_numbers_are_called_so(report):
    text = report("nan")[1].read_text(encoding="utf-8")
    assert text.count('<p class="value">undefined</p>') == 2
    assert "without the 9 invalid" in text
    text = page_of(ll.Tally(10).result())
    assert text.count('<p class="value">undefined</p>') == 4
    assert "The expected calibration error" not in text


def test_labels_and_numbers_of_rows_as_one_can_use_them():
    z = np.zeros((2000, 2))
    z[:, 0] = 5
    labels = ["a"] * 1998 + ["b", "z" * 500]
    text = page_of(ll.evaluate(z, labels, labels=["a", "b"], unknown="wrong"))
    assert "counted as wrong: &#39;" + "z" * 60 + "&#39;." in text
    hardest = text[text.index('<table id="hardest-table-0"') :]
    assert '<td class="n">1998</td>' in hardest[: hardest.index("</table>")]
    assert "mean confidence equal to the accuracy" in page_of(ll.evaluate(np.zeros((3, 1)), [0, 0, 0]))


def test_only_what_is_known_is_said_of_before_and_after():
    z, y = pages.scores(80, 4)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    first, after = ll.evaluate(z, y), ll.evaluate(z, y, temperature=2)
    assert "The logits were divided by 1 before and by 2 after." in page_of(after, before=first)
    for before in (ll.evaluate(p, y, kind="probabilities"), after):
        assert "The logits were divided" not in page_of(after, before=before)


def test_the_table_of_a_vocabulary_has_the_classes_that_have_rows():
    tally = ll.Tally(100_000)
    tally.update(np.zeros((3, 100_000), np.float32), [7, 7, 70_000])
    text = page_of(tally.result())
    assert "The table has the 2 classes that have rows, of 100,000." in text
    table = text[text.index('<table id="classes-table-0"') :]
    assert re.findall(r'<th scope="row">(\d+)</th>', table[: table.index("</table>")]) == ["7", "70000"]
