"""Files that a command writes: none replaces another, or what is read."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--json", "{t}/r", "--tally", "{t}/r"], "--tally is '{t}/r'; expected another file than --json"),
        (
            ["--json", "{t}/r", "--checkpoint", "{t}/r"],
            "--json is '{t}/r'; expected another file than --checkpoint",
        ),
        (["--predictions", "s.csv"], "--predictions is 's.csv'; expected another file than SCORES"),
        (["--json", "./s.csv"], "--json is 's.csv'; expected another file than SCORES"),
    ],
)
def test_outputs_that_would_replace_a_file(run, folder, tmp_path, words, text):
    before = (folder / "s.csv").read_bytes()
    status, out, err = run("evaluate", "s.csv", *(word.format(t=tmp_path) for word in words))
    assert (status, out) == (2, "")
    assert err == f"lastlayer: evaluate: {text.format(t=tmp_path)}\n"
    assert (folder / "s.csv").read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_a_tally_under_two_names_is_merged_once(run, tmp_path):
    assert run("evaluate", "all.npz", "--tally", tmp_path / "a")[0] == 0
    (tmp_path / "link").symlink_to(tmp_path / "a")
    status, out, err = run("merge", tmp_path / "a", tmp_path / "link")
    assert (status, out) == (2, "")
    assert err == f"lastlayer: merge: TALLY is '{tmp_path}/link' twice; expected each file once\n"
    status, out, err = run("merge", tmp_path / "a", "--json", "-", "--tally", "-")
    assert (status, out) == (2, "")
    assert err == "lastlayer: merge: --tally is '-'; expected a file, since --json is '-' too\n"


def test_top_k_without_1(run):
    status, out, err = run("evaluate", "all.npz", "--top-k", "2")
    assert (status, err) == (0, "")
    assert "top_2_accuracy" in out
