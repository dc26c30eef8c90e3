"""The command line: what it prints, and how it refuses."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import lastlayer
from lastlayer.cli.main import main


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv):
        status = main(argv)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_explain_shows_every_step(run):
    status, out, err = run("explain", "0.1", "0.9", "4.0", "--target", "2")
    assert (status, err) == (0, "")
    steps = ["1. Shift:", "2. Exponentials:", "3. Probabilities:", "4. Loss:", "5. Gradient:"]
    assert [out.index(step) for step in steps] == sorted(out.index(step) for step in steps)
    for number in ("-3.900000", "0.020242", "0.019001", "0.042288", "0.938711", "0.063248", "-0.061289"):
        assert number in out
    assert "The prediction is 2, which is right." in out


def test_explain_fits_eighty_columns_and_has_no_colour_codes(run):
    names = ",".join(["a class with a very long name indeed", "dog", "owl"])
    for logits in (["-1000", "0.9", "4.0"], ["-123456.789", "-1e-7", "-12.345678"], ["1e300", "-1e300", "7"]):
        _, out, _ = run("explain", *logits, "--target", "0", "--names", names, "--temperature", "0.5")
        assert max(map(len, out.splitlines())) <= 80
        assert "\x1b" not in out
        assert out.count("…") == 2  # the long name, in both tables: no number is cut
        assert "a class … <" in out


def test_explain_without_target_stops_at_the_probabilities(run):
    status, out, _ = run("explain", "1", "2")
    assert status == 0
    assert "The prediction is 1." in out
    assert "Gradient" not in out


def test_target_by_name_and_a_wrong_prediction(run):
    _, out, _ = run("explain", "1", "2", "--names", "cat,dog", "--target", "cat")
    assert "The prediction is dog, which is wrong: the target is cat." in out
    assert "1.000000 + 0.313262 = 1.313262 nats" in out


@pytest.mark.parametrize("word", ["-1", "-1.5", "-1e-5", "-inf", "-.5"])
def test_negative_logits_are_numbers_not_options(run, word):
    status, out, _ = run("explain", "0", word, "--target", "0")
    assert status == 0
    assert f"{float(word):.6f}"[:4] in out or "e-05" in out


def test_options_reach_the_loss(run):
    _, out, _ = run(
        "explain", "1.0", "1.1", "2.5", "--target", "2", "--label-smoothing", "0.1", "--class-weight", "1,2,3"
    )
    expected = lastlayer.cross_entropy(
        [1.0, 1.1, 2.5], 2, label_smoothing=0.1, class_weight=[1.0, 2.0, 3.0], reduction="sum"
    )
    assert f"{expected:.6f} nats" in out
    mass = 0.9 * 3 + 0.1 / 3 * (1 + 2 + 3)  # what the loss of p = 1/3 everywhere is multiplied by
    assert f"A uniform guess would cost {mass:g} times log 3 = {mass * 1.0986123:.6f}." in out


def test_temperature_divides_the_gradient(run):
    _, out, _ = run("explain", "1.0", "1.1", "2.5", "--target", "2", "--temperature", "2")
    _, gradient = lastlayer.cross_entropy_grad([1.0, 1.1, 2.5], 2, temperature=2.0)
    for value in gradient:
        assert f"{value:+.6f}" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["1", "2", "--target", "7"], "explain: --target is 7; expected a class in [0, 2)"),
        (["1", "2", "--target", "-1"], "explain: --target is -1; expected a class in [0, 2)"),
        (["1", "2", "--target", "cat"], "explain: --target is 'cat'; expected a class in [0, 2)"),
        (["1", "2", "--names", "a,b", "--target", "c"], "explain: --target is 'c'; expected one of a, b"),
        (
            ["1", "2", "--names", "a,a", "--target", "a"],
            "explain: --names is with 'a' twice; expected different",
        ),
        (
            ["1", "2", "--plot", "out.txt"],
            "explain: --plot is 'out.txt'; expected a file that ends in .svg, .png, .pdf",
        ),
        (["1", "2", "--names", "a"], "explain: --names is of 1 names; expected 2 names, one for each class"),
        (["1", "nan"], "explain: logits[1] is nan; expected a number below infinity"),
        (["inf", "1"], "explain: logits[0] is inf; expected a number below infinity"),
        (["-inf", "-inf"], "explain: logits is -inf in every class; expected at least one possible class"),
        (
            ["1", "2", "--class-weight", "1,x", "--target", "0"],
            "--class-weight is '1,x'; expected numbers between",
        ),
        (["1", "2", "--class-weight", "1,2,3", "--target", "0"], "--class-weight is of shape (3,)"),
        (["1", "2", "--label-smoothing", "0.1"], "explain: --target is missing; expected a class"),
        (["1", "2", "--temperature", "-1"], "explain: --temperature is -1"),
        (["1", "two"], "explain: LOGIT is 'two'; expected a number"),
        ([], "explain: missing argument 'LOGIT'; try 'lastlayer explain --help'"),
        (["1", "2", "--target"], "try 'lastlayer explain --help'"),
    ],
)
def test_a_wrong_call_is_status_2_and_one_clear_message(run, argv, message):
    status, out, err = run("explain", *argv)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_without_rich_the_remedy_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    status, _, err = run("explain", "1", "2")
    assert status == 2
    assert "pip install 'lastlayer[cli]'" in err


def test_version_help_and_backends(run):
    assert run("--version") == (0, f"lastlayer {lastlayer.__version__}\n", "")
    assert "explain" in run()[1]
    status, out, _ = run("backends")
    assert status == 0
    assert "reference" in out


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "lastlayer", "explain", "0.1", "0.9", "4.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0.938711" in done.stdout


def test_output_without_unicode_draws_bars_with_plain_signs():
    done = subprocess.run(
        [sys.executable, "-m", "lastlayer", "explain", "0.1", "0.9", "4.0"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"###" in done.stdout


# --- explain: other ways to write the numbers ---------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["0.1,0.9,-4.0"], ["[0.1, 0.9, -4.0]"], ["-4.0,0.1,0.9"], ["0.1", "0.9", "-4"]]
)
def test_numbers_in_one_word(run, words):
    status, out, _ = run("explain", *words)
    assert status == 0
    assert "-4.000000" in out


def test_probabilities(run):
    status, out, _ = run("explain", "0.25", "0.75", "--probabilities", "--target", "1")
    assert status == 0
    assert "0.750000" in out
    assert "0.287682 nats" in out  # -log 0.75
    assert "Are they probabilities?" in run("explain", "0.25", "0.75")[1]
    assert "Are they probabilities?" not in run("explain", "1", "2")[1]
    assert run("explain", "0.25", "2", "--probabilities")[0] == 2


# --- evaluate, calibrate, merge, check ----------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    r = np.random.default_rng(0)
    z, y = r.normal(size=(200, 3)) * 2, r.integers(0, 3, 200)
    z[np.arange(200), y] += 1
    for name, part in (("all", slice(None)), ("a", slice(90)), ("b", slice(90, None))):
        np.savez(tmp_path / f"{name}.npz", logits=z[part], targets=y[part])
    return tmp_path, z, y


def test_evaluate_prints_a_table_and_writes_json(run, files):
    folder, z, y = files
    status, out, err = run(
        "evaluate", str(folder / "all.npz"), "--json", str(folder / "r.json"), "--top-k", "1,2"
    )
    assert (status, err) == (0, "")
    expected = lastlayer.evaluate(z, y, top_k=(1, 2))
    assert "200 rows" in out
    assert f"{expected.log_loss.value:.6f}" in out
    assert "top_2_accuracy" in out
    assert "\x1b" not in out
    assert json.loads((folder / "r.json").read_text())["accuracy"]["value"] == expected.accuracy.value
    status, out, _ = run("evaluate", str(folder / "all.npz"), "--json", "-")
    assert json.loads(out)["n"] == 200


def test_tallies_are_merged(run, files):
    folder, z, y = files
    for name in "ab":
        assert run("evaluate", str(folder / f"{name}.npz"), "--tally", str(folder / name))[0] == 0
    status, out, _ = run("merge", str(folder / "a"), str(folder / "b"), "--json", "-")
    assert status == 0
    assert json.loads(out)["log_loss"]["value"] == lastlayer.evaluate(z, y).log_loss.value
    (folder / "c").write_text("{}")
    status, _, err = run("merge", str(folder / "c"))
    assert status == 2
    assert "schema is None" in err


def test_calibrate_and_use_it(run, files):
    folder, z, y = files
    saved = str(folder / "t.json")
    status, out, _ = run("calibrate", str(folder / "all.npz"), "--out", saved)
    assert status == 0
    t = lastlayer.fit_temperature(z, y)
    assert out.startswith(str(t))
    _, out, _ = run("evaluate", str(folder / "all.npz"), "--temperature", saved, "--json", "-")
    assert json.loads(out)["log_loss"]["value"] == t.log_loss_after
    assert run("evaluate", str(folder / "all.npz"), "--temperature", "warm")[0] == 2


def test_check_has_status_1_for_an_error(run, files):
    folder, z, _ = files
    assert run("check", str(folder / "all.npz"))[0] == 0
    np.savez(folder / "wrong.npz", logits=z, targets=np.full(200, 7))
    status, out, _ = run("check", str(folder / "wrong.npz"))
    assert status == 1
    assert "target-out-of-range" in out


def test_wrong_input_is_status_2(run, files):
    folder, *_ = files
    status, out, err = run("evaluate", str(folder / "nowhere.npy"))
    assert (status, out) == (2, "")
    assert "expected a file, folder or pattern" in err
    assert run("evaluate")[0] == 2
    assert run("evaluate", "x", "--bins", "many")[0] == 2
    assert run("nonsense")[0] == 2


def test_ctrl_c_prints_the_result_so_far(run, files, monkeypatch):
    folder, *_ = files
    tally = lastlayer.Tally(3)
    tally.update([[1.0, 2.0, 3.0]], [2])

    def stopped(*_, **__):
        raise lastlayer.EvaluationInterrupted(tally)

    monkeypatch.setattr(lastlayer, "evaluate", stopped)
    status, out, _ = run("evaluate", str(folder / "all.npz"))
    assert status == 130
    assert "1 rows" in out


def test_an_unforeseen_error_is_status_3(run, monkeypatch):
    def fails():
        raise ZeroDivisionError

    monkeypatch.setattr(lastlayer, "show_backends", fails)
    status, _, err = run("backends")
    assert status == 3
    assert "please report it" in err


@pytest.mark.parametrize(
    "command", ["explain", "evaluate", "compare", "calibrate", "merge", "check", "backends"]
)
def test_help_has_an_example(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert re.search(rf"^  Examples?:\n    lastlayer {command}", out, re.MULTILINE)


def test_a_closed_pipe_is_silent(files):
    folder, *_ = files
    command = f"{sys.executable} -m lastlayer evaluate {folder / 'all.npz'} --json - | head -c 5"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
