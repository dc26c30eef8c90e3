"""`lastlayer compare`: its numbers are those of `compare`; its files, and `merge` of its tallies."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from commands import N, process

import lastlayer as ll


@pytest.fixture
def other(data, tmp_path):
    """The logits of another model, in a file."""
    z, _ = data
    b = 0.5 * z + np.random.default_rng(4).normal(size=z.shape) * 0.4
    np.save(tmp_path / "b.npy", b)
    return tmp_path / "b.npy", b


def test_compare_as_a_process(folder, data, other, tmp_path):
    (path, b), (z, y) = other, data
    done = process(folder, "compare", "z.npy", path, "y.npy", "--json", tmp_path / "r.json")
    assert (done.returncode, done.stderr) == (0, "")
    expected = ll.compare(z, b, y)
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(expected.to_json())
    assert done.stdout.startswith(f"{N} rows, logits\n")
    for name in ("log_loss", "accuracy", "brier"):
        first, second, d = getattr(expected, name)
        signed = (re.escape(f"{v:+.6f}") for v in (d.value, d.low, d.high))
        numbers = " +".join((f"{first.value:.6f}", f"{second.value:.6f}", *signed))
        assert re.search(rf"^ {name} +{numbers}$", done.stdout, re.MULTILINE)
    assert re.search(rf"^ b alone +{expected.flips.only_b}$", done.stdout, re.MULTILINE)
    assert f"McNemar's exact test: p = {expected.mcnemar:.4g}\n" in done.stdout
    assert re.search(rf"^ mean, 95 % +{expected.kl.value:.6f} ", done.stdout, re.MULTILINE)


def test_options_of_each_model_and_groups(run, data, tmp_path):
    z, _ = data
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.save(tmp_path / "p.npy", p)
    status, out, err = run(
        "compare", "s.parquet", tmp_path / "p.npy", "--kind-b", "probabilities", "--group", "site",
        "--temperature", "2", "--json", "-",
    )  # fmt: skip
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["kind"], found["temperature"]) == (["logits", "probabilities"], [2.0, 1.0])
    assert (found["n"], found["ignored"], list(found["by_group"])) == (392, 8, ["north", "south"])
    status, out, _ = run(
        "compare", "s.parquet", "s.parquet", "--group", "site", "--document", "site", "--temperature-b", "2"
    )
    assert status == 0
    assert out.startswith("392 rows, 8 ignored, logits, temperatures 1 and 2\n")
    assert re.search(r"^ north +200 +[+-]", out, re.MULTILINE)
    assert "mcnemar takes rows as independent" in out


def test_tallies_are_merged_and_columns_of_one_file_compared(run, data, other, tmp_path):
    (_, b), (z, y) = other, data
    for name, rows in (("1", slice(0, 150)), ("2", slice(150, N))):
        np.savez(tmp_path / f"a{name}.npz", logits=z[rows], targets=y[rows])
        np.save(tmp_path / f"b{name}.npy", b[rows])
        files = tmp_path / f"a{name}.npz", tmp_path / f"b{name}.npy"
        assert run("compare", *files, "--tally", tmp_path / f"{name}.tally")[0] == 0
    tallies = tmp_path / "1.tally", tmp_path / "2.tally"
    status, out, _ = run("merge", *tallies, "--tally", tmp_path / "all.tally", "--json", tmp_path / "r.json")
    expected = ll.compare(z, b, y)
    assert (status, out.splitlines()[0]) == (0, f"{N} rows, logits")
    assert (tmp_path / "all.tally").read_bytes() == expected.to_bytes()
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(expected.to_json())
    assert run("evaluate", "all.npz", "--tally", tmp_path / "one.tally")[0] == 0
    status, _, err = run("merge", tallies[0], tmp_path / "one.tally")
    assert status == 2
    assert "PairedTally: other is a Tally; expected a PairedTally" in err
    np.savez(tmp_path / "both.npz", old=z, new=b, targets=y)
    both = tmp_path / "both.npz"
    status, out, _ = run("compare", both, both, "--columns", "old", "--columns-b", "new", "--json", "-")
    assert (status, json.loads(out)) == (0, json.loads(expected.to_json()))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["z.npy"], "compare: missing argument 'B'; try 'lastlayer compare --help'\n"),
        (["z.npy", "z.npy"], "compare: targets is None; expected the targets of a, or their file\n"),
        (
            ["z.npy", "nowhere.npy", "y.npy"],
            "compare: b is 'nowhere.npy'; expected a file, folder or pattern of",
        ),
        (["z.npy", "y.npy", "y.npy"], "compare: b is of shape (400,); expected rows of scores;"),
        (["z.npy", "shard0.npz", "y.npy"], "compare: b is of 100 rows; expected 400, as a has\n"),
        (
            ["z.npy", "z.npy", "y.npy", "--kind-b", "x"],
            "compare: invalid value for '--kind-b': 'x' is not one of",
        ),
        (
            ["z.npy", "z.npy", "y.npy", "--json", "no/r"],
            "compare: --json is 'no/r'; expected a file in a folder",
        ),
        (
            ["z.npy", "z.npy", "y.npy", "--json", "z.npy"],
            "--json is 'z.npy'; expected another file than A",
        ),
        (
            ["z.npy", "z.npy", "y.npy", "--json", "-", "--tally", "-"],
            "compare: --tally is '-'; expected a file",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_calls(run, argv, message):
    status, out, err = run("compare", *argv)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
