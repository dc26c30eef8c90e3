"""`lastlayer report`, and `--html` of `evaluate` and `compare`: pages with the numbers of their rows."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

import lastlayer as ll

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


def value(page, name, column=0):
    """A number of the page's tables."""
    row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', page).group(1)
    return float(re.findall(r">([^<>]+)</td>", row)[column])


def test_evaluate_writes_the_page(run, data, tmp_path):
    path = tmp_path / "r.html"
    status, out, err = run("evaluate", "z.npy", "y.npy", "--html", path)
    assert (status, err) == (0, "")
    assert "log_loss" in out
    page = path.read_text(encoding="utf-8")
    expected = ll.evaluate(*data)
    assert "<h1>Evaluation of z.npy</h1>" in page
    assert abs(value(page, "log_loss") - expected.log_loss.value) < 1e-3
    assert "<dd>z.npy, targets of y.npy</dd>" in page
    assert '<section id="calibrated"' not in page


def test_with_a_temperature_the_page_has_both(run, data, tmp_path):
    z, y = data
    path = tmp_path / "r.html"
    assert run("evaluate", "z.npy", "y.npy", "--temperature", "2", "--html", path)[0] == 0
    page = path.read_text(encoding="utf-8")
    table = page[page.index('<section id="calibrated"') :]
    expected = [ll.evaluate(z, y, temperature=t).log_loss.value for t in (1.0, 2.0)]
    assert abs(value(table, "log_loss", 0) - expected[0]) < 1e-3
    assert abs(value(table, "log_loss", 2) - expected[1]) < 1e-3


def test_report_of_saved_tallies(run, data, tmp_path):
    np.save(tmp_path / "b.npy", data[0] * 0.7)
    names = {name: tmp_path / name for name in ("a.tally", "t.tally", "c.tally", "r.html")}
    assert run("evaluate", "z.npy", "y.npy", "--tally", names["a.tally"])[0] == 0
    assert run("evaluate", "z.npy", "y.npy", "--temperature", "2", "--tally", names["t.tally"])[0] == 0
    assert run("compare", "z.npy", tmp_path / "b.npy", "y.npy", "--tally", names["c.tally"])[0] == 0
    status, out, err = run(
        "report", names["t.tally"], "--before", names["a.tally"], "--comparison", names["c.tally"],
        "--title", "A & B", "--html", names["r.html"],
    )  # fmt: skip
    assert (status, out, err) == (0, f"{names['r.html']}\n", "")
    page = names["r.html"].read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    for part in ("calibrated", "compared", "confusion"):
        assert f'<section id="{part}"' in page
    assert run("report", names["c.tally"], "--html", names["r.html"])[0] == 0
    assert "<h1>Comparison of two models</h1>" in names["r.html"].read_text(encoding="utf-8")


def test_compare_writes_the_page(run, data, tmp_path):
    path = tmp_path / "r.html"
    assert run("compare", "z.npy", "z.npy", "y.npy", "--html", path)[0] == 0
    page = path.read_text(encoding="utf-8")
    assert "Comparison of z.npy (a) and z.npy (b)" in page
    assert abs(value(page, "log_loss") - ll.evaluate(*data).log_loss.value) < 1e-3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "none.tally"], "TALLY is 'none.tally'; expected a saved tally"),
        (["report", "z.npy"], "TALLY is 'z.npy'; expected a saved tally"),
        (["report", "{a}", "--before", "{c}"], "--before is '{c}'; expected a file of evaluate --tally"),
        (
            ["report", "{a}", "--comparison", "{a}"],
            "--comparison is '{a}'; expected a file of compare --tally",
        ),
        (
            ["report", "{c}", "--before", "{a}"],
            "--before is given; expected none, since TALLY is a comparison",
        ),
        (["report", "{a}", "--html", "none/r.html"], "--html is 'none/r.html'; expected a file in a folder"),
        (["report", "{a}", "--html", "{a}"], "--html is '{a}'; expected another file than TALLY"),
        (["evaluate", "z.npy", "y.npy", "--html", "none/r.html"], "expected a file in a folder that exists"),
        (["evaluate", "z.npy", "y.npy", "--html", "-"], "--html is '-'; expected a file"),
        (["compare", "z.npy", "z.npy", "y.npy", "--html", "-"], "--html is '-'; expected a file"),
        (["report", "{a}", "--html", "-"], "--html is '-'; expected a file"),
        (
            ["compare", "z.npy", "z.npy", "y.npy", "--json", "x", "--html", "./x"],
            "--html is 'x'; expected another file than --json",
        ),
        (["evaluate", "z.npy", "y.npy", "--html", "z.npy"], "--html is 'z.npy'; expected another file"),
        (
            ["compare", "z.npy", "z.npy", "y.npy", "--html", "z.npy"],
            "--html is 'z.npy'; expected another file",
        ),
    ],
)
def test_wrong_calls(run, words, said, tmp_path, folder):
    before = (folder / "z.npy").read_bytes()
    names = {"a": tmp_path / "a.tally", "c": tmp_path / "c.tally"}
    run("evaluate", "z.npy", "y.npy", "--tally", names["a"])
    run("compare", "z.npy", "z.npy", "y.npy", "--tally", names["c"])
    status, _, err = run(*(word.format(**names) for word in words))
    assert status == 2
    assert said.format(**names) in err
    assert (folder / "z.npy").read_bytes() == before


def test_missing_packages_are_named_before_the_work(run, monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "lastlayer.cli.data.find_spec", lambda name: None if name == "jinja2" else found(name)
    )
    status, out, err = run("evaluate", "z.npy", "y.npy", "--html", tmp_path / "r.html")
    assert (status, out) == (2, "")
    assert "--html needs jinja2; run: pip install 'lastlayer[report]'" in err


def test_ctrl_c_while_the_scores_are_read_again_keeps_the_results(run, data, tmp_path, monkeypatch):
    evaluate = ll.evaluate

    def once(*arguments, **options):
        if options["temperature"] == 1:
            raise ll.EvaluationInterrupted(ll.Tally(3))
        return evaluate(*arguments, **options)

    monkeypatch.setattr(ll, "evaluate", once)
    json, html = tmp_path / "r.json", tmp_path / "r.html"
    words = ("evaluate", "z.npy", "y.npy", "--temperature", "2", "--json", json, "--html", html)
    status, out, err = run(*words)
    assert (status, err) == (130, "lastlayer: interrupted; the report was not written\n")
    assert "log_loss" in out
    assert json.exists()
    assert not html.exists()
