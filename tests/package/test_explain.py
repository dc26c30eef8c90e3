"""`explain`: the same text as the command, tables with bars, a picture; and how it refuses."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import lastlayer as ll


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["0.1", "0.9", "4.0", "--target", "2"], ll.explain([0.1, 0.9, 4.0], 2)),
        (
            [
                "1,2",
                "--names",
                "cat,dog",
                "--target",
                "cat",
                "--temperature",
                "2",
                "--label-smoothing",
                "0.1",
            ],
            ll.explain([1, 2], "cat", labels=["cat", "dog"], temperature=2.0, label_smoothing=0.1),
        ),
        (
            ["0.25,0.75", "--probabilities", "--target", "1", "--class-weight", "1,3"],
            ll.explain([0.25, 0.75], 1, kind="probabilities", class_weight=[1.0, 3.0]),
        ),
        (["0.25,0.75"], ll.explain([0.25, 0.75])),
        (
            ["1,2,-4", "--target", "0.1,0.2,0.7", "--softcap", "3", "--names", "cat,dog,owl"],
            ll.explain([1, 2, -4], [0.1, 0.2, 0.7], softcap=3.0, labels=["cat", "dog", "owl"]),
        ),
    ],
)
def test_the_text_is_what_the_command_prints(words, call, capsys, monkeypatch):
    for needed in ("typer", "rich"):
        pytest.importorskip(needed)
    from lastlayer.cli.main import main

    monkeypatch.setenv("COLUMNS", "80")
    assert main(["explain", *words]) == 0
    assert capsys.readouterr().out == f"\n{call!r}\n\n"


def test_numbers_by_hand():
    found = ll.explain([0.1, 0.9, 4.0], 1)
    exponentials = [math.exp(z - 4.0) for z in (0.1, 0.9, 4.0)]
    p = [e / sum(exponentials) for e in exponentials]
    np.testing.assert_allclose(found.exponentials, exponentials, rtol=1e-15)
    np.testing.assert_allclose(found.probabilities, p, rtol=1e-14)
    np.testing.assert_allclose(found.gradient, [p[0], p[1] - 1, p[2]], rtol=1e-14)
    assert found.loss == pytest.approx(-math.log(p[1]), rel=1e-14)
    assert (found.prediction, found.targets.tolist()) == (2, [0.0, 1.0, 0.0])


def test_options_by_hand():
    """t = w_j ((1 - s) q_j + s / V), of logits divided by T."""
    w = [1.0, 2.0, 4.0]
    found = ll.explain([0.0, 1.0, 3.0], 2, temperature=2.0, label_smoothing=0.3, class_weight=w)
    t = [1.0 * 0.1, 2.0 * 0.1, 4.0 * 0.8]
    exponentials = [math.exp(z / 2) for z in (0.0, 1.0, 3.0)]
    p = [e / sum(exponentials) for e in exponentials]
    np.testing.assert_allclose(found.targets, t, rtol=1e-14)
    assert found.loss == pytest.approx(-sum(a * math.log(b) for a, b in zip(t, p, strict=True)), rel=1e-14)
    slopes = [(sum(t) * b - a) / 2 for a, b in zip(t, p, strict=True)]
    np.testing.assert_allclose(found.gradient, slopes, rtol=1e-13)
    assert "A uniform guess would cost 3.5 times log 3 = 3.845143." in repr(found)


def test_probabilities_as_target_and_softcap_by_hand():
    """z = c tanh(r / c) / T; the slope of the cap is 1 - tanh^2."""
    q, r, c = [0.1, 0.2, 0.7], [0.1, 0.9, 4.0], 5.0
    found = ll.explain(r, q, softcap=c, temperature=2.0)
    capped = [c * math.tanh(x / c) for x in r]
    exponentials = [math.exp((x - max(capped)) / 2) for x in capped]
    p = [e / sum(exponentials) for e in exponentials]
    np.testing.assert_allclose(found.capped, capped, rtol=1e-15)
    np.testing.assert_allclose(found.exponentials, exponentials, rtol=1e-14)
    np.testing.assert_allclose(found.probabilities, p, rtol=1e-14)
    assert (found.target, found.targets.tolist()) == (None, q)
    loss = -sum(a * math.log(b) for a, b in zip(q, p, strict=True))
    assert found.loss == pytest.approx(loss, rel=1e-14)
    slopes = [(b - a) / 2 * (1 - math.tanh(x / c) ** 2) for a, b, x in zip(q, p, r, strict=True)]
    np.testing.assert_allclose(found.gradient, slopes, rtol=1e-12)
    entropy = -sum(a * math.log(a) for a in q)
    assert f"Probabilities equal to the target would cost {entropy:.6f}, the least" in repr(found)
    assert "The prediction is 2; the target's largest class is 2." in repr(found)
    tables = ElementTree.fromstring(found._repr_html_()).findall("div/table")
    assert [th.text for th in tables[0].findall("thead/tr/th")] == [
        "class", "logit", "capped", "shifted", "exp", "probability",
    ]  # fmt: skip


def test_probabilities_as_target_with_weights_by_hand():
    """The loss is least where p is t over its sum."""
    t = np.array([0.1, 0.2, 0.7]) * [1.0, 2.0, 3.0]
    found = ll.explain(np.log(t), [0.1, 0.2, 0.7], class_weight=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(found.gradient, 0, atol=1e-15)
    assert f"Probabilities proportional to the target would cost {found.loss:.6f}, the" in " ".join(
        repr(found).split()
    )


def test_a_one_hot_row_is_its_class():
    found, expected = ll.explain([1.0, 3.0], [0, 1], softcap=2), ll.explain([1.0, 3.0], 1, softcap=2)
    assert found.loss == pytest.approx(expected.loss, rel=1e-15)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-14)
    assert "would cost 0.000000, the least possible loss" in " ".join(repr(found).split())


def test_a_softcap_that_all_logits_reach():
    """tanh is 1 for all: equal probabilities, and no gradient."""
    found = ll.explain([1e30, 1e308, 1e200], 2, softcap=1.0)
    np.testing.assert_allclose(found.probabilities, 1 / 3, rtol=1e-15)
    assert found.gradient.tolist() == [0.0, 0.0, 0.0]


def test_without_a_target_there_is_no_loss():
    found = ll.explain([1.0, 2.0])
    assert math.isnan(found.loss)
    assert "Gradient" not in repr(found)
    assert "Gradient" not in found._repr_html_()


def test_tables_with_bars():
    """Widths of bars are shares of 8 em, and of 4 em on either side; names are text."""
    found = ll.explain([0.0, math.log(3.0)], 1, labels=["<b>&", "dog"])
    root = ElementTree.fromstring(found._repr_html_())
    tables = root.findall("div/table")
    assert [[th.text for th in t.findall("thead/tr/th")] for t in tables] == [
        ["class", "logit", "shifted", "exp", "probability"],
        ["class", "probability p", "target t", "gradient"],
    ]
    first, second = (t.findall("tbody/tr") for t in tables)
    assert [row.find("th").text for row in first] == ["<b>&", None]
    assert first[1].find("th/strong").text == "dog (target)"
    assert [td.text for td in first[0].findall("td")[:4]] == ["0.000000", "-1.098612", "0.333333", "0.250000"]
    widths = [re.search(r";width:([\d.]+)em", row.find("td/span").get("style"))[1] for row in first]
    assert widths == ["2.000", "6.000"]
    assert [row.findall("td")[2].text for row in second] == ["+0.250000", "-0.250000"]
    assert [row.findall("td")[3][-1].tail.strip() for row in second] == ["lower", "raise"]
    assert all(
        span.get("aria-hidden") == "true" for row in (*first, *second) for span in [row.find("td/span")]
    )


def test_of_many_classes_the_most_probable_and_the_target():
    z = np.zeros(1000)
    z[400:420] = 5.0
    found = ll.explain(z, 7)
    names = re.findall(
        r"^  (\d+)", repr(found).split("exp  probability")[1].split("The most")[0], re.MULTILINE
    )
    assert names == ["7", *map(str, range(400, 420))]
    others = 979 / (980 + 20 * math.exp(5.0))
    assert f"The most probable of 1,000 classes are shown; the 979 others have {others:.6f}" in repr(found)
    assert len(found.gradient) == 1000
    z, t = np.zeros(1000), np.zeros(1000)
    t[[3, 5]] = 0.5
    z[100:120] = 9.0
    found = repr(ll.explain(z, t))
    assert re.findall(r"^  (\d+) +0\.0000", found, re.MULTILINE)[:2] == ["3", "5"]
    assert "1,000 classes and those with the largest targets are shown; the 978" in " ".join(found.split())
    z = np.zeros(40)
    assert len(re.findall(r"^  \d+ +0\.0", repr(ll.explain(z)), re.MULTILINE)) == 40


def test_names_fit_their_columns():
    found = ll.explain([1.0, 2.0, 3.0], 0, labels=["猫" * 9, "e\u0301" * 9, "x" * 10])
    lines = [line for line in repr(found).splitlines() if "0.090031" in line or "0.244728" in line]
    assert lines[0].startswith("  猫猫猫猫… <  ")
    assert lines[1].startswith("  " + "e\u0301" * 9 + "    ")


def test_arrays_of_other_kinds():
    expected = repr(ll.explain([1.0, 2.0, 4.0], 2))
    for z in (np.array([1, 2, 4]), np.array([1, 2, 4], np.float16), np.array([1, 2, 4], ">f4")):
        assert repr(ll.explain(z, np.int64(2))) == expected
    torch = pytest.importorskip("torch")
    z = torch.tensor([1.0, 2.0, 4.0], dtype=torch.bfloat16, requires_grad=True)
    assert repr(ll.explain(z, torch.tensor(2))) == expected
    soft = ll.explain(z, torch.tensor([0.25, 0.25, 0.5]))
    assert repr(soft) == repr(ll.explain([1.0, 2.0, 4.0], [0.25, 0.25, 0.5]))


def test_targets_by_name_and_number():
    assert ll.explain([1.0, 2.0], 1, labels=["cat", "dog"]).target == 1
    assert ll.explain([1.0, 2.0], "dog", labels=["cat", "dog"]).target == 1
    assert ll.explain([1.0, 2.0, 3.0], 1, labels=[3, 1, 2]).target == 1
    assert ll.explain([1.0, 2.0, 3.0], "3", labels=[3, 1, 2]).target == 0
    assert ll.explain([-0.5, -2.0], 0, kind="logits").notes == ()
    log_p = np.log([0.25, 0.75])
    np.testing.assert_allclose(ll.explain(log_p, kind="log-probabilities").probabilities, [0.25, 0.75])


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (([[1.0, 2.0]], 0), {}, ll.ShapeError, "logits is of shape (1, 2); expected one row, of shape "
         "(V,); pass one of its rows, logits[i]"),
        ((3.0, 0), {}, ll.ShapeError, "logits is of shape (); expected one row"),
        (([], 0), {}, ll.ShapeError, "logits is of shape (0,); expected at least one class"),
        ((["a", "b"], 0), {}, ll.DtypeError, "logits is of dtype <U1; expected"),
        (([1.0, 2.0], 2), {}, ll.TargetError, "target is 2; expected a class in [0, 2)"),
        (([1.0, 2.0], True), {}, ll.TargetError, "target is True; expected a class in [0, 2)"),
        (([1.0, 2.0], [0, 0, 1]), {}, ll.ShapeError, "target is of shape (3,); expected a class, or (2,)"),
        (([1.0, 2.0], np.ones(2)), {}, ll.TargetError, "target is [1, 1]; expected numbers in [0, 1]"),
        (([1.0, 2.0], [np.nan, 1]), {}, ll.TargetError, "target is [nan, 1]; expected numbers in [0, 1]"),
        (([1.0, 2.0], ["a", "b"]), {}, ll.DtypeError, "target is of dtype <U1; expected"),
        (([1.0, 2.0],), {"softcap": 0}, ll.OptionError, "softcap is 0; expected a finite number above 0"),
        (([1.0, 2.0], 0), {"labels": [1, 2]}, ll.TargetError, "target is 0; expected one of 1, 2"),
        (([1.0, 2.0], "c"), {"labels": "ab"}, ll.TargetError, "target is 'c'; expected one of a, b"),
        (([1.0, 2.0],), {"class_weight": [1, 2]}, ll.OptionError, "target is missing; expected a class, "
         "since class_weight changes its loss"),
        (([1.0, 2.0],), {"kind": "p"}, ll.OptionError, "kind is 'p'; expected one of 'logits', "),
        (([0.5, 0.6],), {"kind": "probabilities"}, ll.OptionError, "logits is [0.5, 0.6]; expected "
         "probabilities: numbers in [0, 1] that sum to one"),
        (([np.nan, 1],), {"kind": "probabilities"}, ll.OptionError, "logits is [nan, 1]; expected"),
        (([-0.1, -0.2],), {"kind": "log-probabilities"}, ll.OptionError, "log-probabilities: exponentials"),
        (([1.0, np.inf], 0), {}, ll.OptionError, "logits[1] is inf; expected a number below infinity"),
        (([1.0, 2.0], 0), {"temperature": 0}, ll.OptionError, "temperature is 0; expected"),
        (([1.0, 2.0], 0), {"label_smoothing": 2}, ll.OptionError, "label_smoothing is 2; expected"),
    ],
)  # fmt: skip
def test_wrong_calls(arguments, options, kind, message):
    with pytest.raises(kind) as error:
        ll.explain(*arguments, **options)
    assert str(error.value).startswith("explain: ")
    assert message in str(error.value)


# --- the picture --------------------------------------------------------------------------------------------


@pytest.fixture
def matplotlib():
    found = pytest.importorskip("matplotlib")
    found.use("Agg")
    yield found
    import matplotlib.pyplot as plt

    plt.close("all")


def test_the_picture(matplotlib):
    display = ll.explain([0.0, math.log(3.0)], 0, labels=["a", "$b$"]).plot()
    assert [bar.get_width() for bar in display.bars_] == pytest.approx([0.25, 0.75])
    assert [bar.get_x() for bar in display.steps_] == pytest.approx([-0.75, 0.0])
    assert [bar.get_width() for bar in display.steps_] == pytest.approx([0.75, 0.75])
    assert [text for _, text in display.shown_] == [
        "class a: probability 0.25, target 1",
        "class $b$: probability 0.75",
        "class a: gradient -0.75, raise",
        "class $b$: gradient 0.75, lower",
    ]
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["a", "$b$"]
    head, rows = display.table()
    assert head == ["class", "probability", "target", "gradient"]
    assert [row[0] for row in rows] == ["a", "$b$"]
    np.testing.assert_allclose([row[1:] for row in rows], [[0.25, 1, -0.75], [0.75, 0, 0.75]])


def test_the_picture_on_axes_of_the_user(matplotlib):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    before = dict(matplotlib.rcParams)
    display = ll.explain(np.zeros(2000), 1999).plot(ax)
    assert display.ax_ is ax
    assert display.steps_ == []
    assert display.order_.tolist() == [*range(20), 1999]
    assert dict(matplotlib.rcParams) == before
    assert ll.explain([1.0, 2.0]).plot(Figure()).table()[0] == ["class", "probability"]
    soft = ll.explain([1.0, 2.0], [0.25, 0.75]).plot(Figure())
    assert len(soft.marks_) == 2
    t = np.zeros(2000)
    t[1000:1002] = 0.5
    assert ll.explain(np.zeros(2000), t).plot(Figure()).order_.tolist() == [*range(20), 1000, 1001]


def test_the_picture_without_matplotlib(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ExplanationDisplay\.plot requires matplotlib"):
        ll.explain([1.0, 2.0]).plot()


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_the_command_draws_to_a_file(matplotlib, tmp_path, capsys, name, start):
    pytest.importorskip("typer")
    from lastlayer.cli.main import main

    assert main(["explain", "1", "2", "--target", "0", "--plot", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(start)
