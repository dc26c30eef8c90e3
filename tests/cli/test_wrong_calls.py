"""Wrong calls, interrupts and closed pipes: the exit status, and one line that says what to do."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import process

import lastlayer as ll


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "nowhere.npy"], "evaluate: scores is 'nowhere.npy'; expected a file, folder"),
        (["evaluate", "z.npy"], "evaluate: targets is None; expected"),
        (["evaluate", "s.csv", "--label", "x"], "evaluate: label is 'x'; expected a column of the table"),
        (["evaluate", "all.npz", "--kind", "x"], "'x' is not one of 'logits'"),
        (["evaluate", "all.npz", "--bins", "x"], "evaluate: invalid value for '--bins': expected a valid"),
        (["evaluate", "all.npz", "--bins", "0"], "bins is 0; expected an int of 1 or more"),
        (["evaluate", "all.npz", "--top-k", "1,x"], "lastlayer: evaluate: --top-k is '1,x'; expected whole"),
        (["evaluate", "all.npz", "--temperature", "-1"], "temperature is -1.0; expected a finite"),
        (["evaluate", "all.npz", "--temperature", "warm"], "evaluate: --temperature is 'warm'; expected a"),
        (["evaluate", "all.npz", "--json", "no/r.json"], "--json is 'no/r.json'; expected a file in"),
        (["evaluate", "all.npz", "--predictions", "r.txt"], "--predictions is 'r.txt'; expected .par"),
        (["evaluate", "all.npz", "--jso", "x"], "evaluate: no such option: --jso"),
        (["evaluate"], "evaluate: missing argument 'SCORES'; try 'lastlayer evaluate --help'\n"),
        (["evalute", "x"], "lastlayer: no such command 'evalute' (did you mean 'evaluate'?); try 'lastl"),
        (["merge"], "merge: missing argument 'TALLY"),
        (["backends", "x"], "backends: got unexpected extra argument"),
        (["calibrate", "nowhere.npy"], "calibrate: scores is 'nowhere.npy'; expected a file, folder"),
        (["calibrate", "z.npy", "--label"], "calibrate: option '--label' requires an argument; try 'lastl"),
        (["calibrate", "z.npy", "y.npy", "--out", "no/t.json"], "calibrate: out is '"),
        (["calibrate", "all.npz", "--labels", "a"], "calibrate: labels is of 1 names; expected 5 names"),
        (["check", "nowhere.npy"], "check: scores is 'nowhere.npy'; expected a file, folder"),
        (["check", "all.npz", "--labels", "a"], "check: labels is of 1 names; expected 5 names"),
        (["check", "all.npz", "--binary"], "check: targets is of shape (400,); expected (400, 5), one for"),
        (["merge", "one.tally", "--tally", "no/t"], "merge: tally is '"),
        (["calibrate", "z.npy", "z.npy"], "targets"),
        (["check", "s.csv", "--columns", "site"], "site is a column of string; expected numbers"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_status_2_and_one_line(run, folder, argv, message):
    (folder / "one.tally").write_bytes(ll.Tally(3).to_bytes())
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("lastlayer: ")
    assert err.count("\n") == 1


def test_wrong_input_of_a_process(folder):
    done = process(folder, "evaluate", "nowhere.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a process alone")
@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["evaluate", "z.npy", "y.npy", "--json", "r.json", "--checkpoint", "c.json"], "tally.Tally.update"),
        (["compare", "z.npy", "z.npy", "y.npy", "--json", "r.json"], "paired_tally.PairedTally.add"),
    ],
)
def test_ctrl_c_prints_the_result_so_far_and_exits_130(tmp_path, words, place):
    np.save(tmp_path / "z.npy", np.zeros((400_000, 100), np.float32))
    np.save(tmp_path / "y.npy", np.zeros(400_000, np.int64))
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "COLUMNS": "80"}
    module, name, method = place.split(".")
    # The process interrupts itself after its third block: a real signal, at a moment that does not vary.
    program = (
        "import os, signal, sys\n"
        f"from lastlayer.evaluation.{module} import {name} as Counted\n"
        f"update, calls = Counted.{method}, []\n"
        "def counted(*a, **k):\n"
        "    update(*a, **k)\n"
        "    calls.append(1)\n"
        "    len(calls) == 3 and os.kill(os.getpid(), signal.SIGINT)\n"
        f"Counted.{method} = counted\n"
        "from lastlayer.cli.main import main\n"
        f"sys.exit(main({words!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 130
    rows = re.match(r"([\d,]+) rows, logits\n", done.stdout)[1]
    assert 0 < int(rows.replace(",", "")) < 400_000
    assert done.stderr == f"lastlayer: interrupted after {rows} rows; no file of results was written\n"
    assert not (tmp_path / "r.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a process alone")
def test_ctrl_c_before_any_row_is_silent(tmp_path):
    os.mkfifo(tmp_path / "names.json")  # the command waits for somebody to write to it
    child = subprocess.Popen(
        [sys.executable, "-m", "lastlayer", "merge", str(tmp_path / "names.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    writing = None
    while writing is None and child.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(OSError):  # nobody reads yet
            writing = os.open(tmp_path / "names.json", os.O_WRONLY | os.O_NONBLOCK)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60) == ("", "")
    assert child.returncode == 130
    os.close(writing)


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise on Windows")
@pytest.mark.parametrize(
    "argv",
    [["evaluate", "all.npz"], ["evaluate", "all.npz", "--json", "-"], ["explain", "1", "2"], ["--help"]],
)
def test_a_closed_pipe_is_silent(folder, argv):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "lastlayer", *argv],
        cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_typer_the_remedy_is_named():
    program = (
        "import sys\n"
        "sys.modules['typer'] = None\n"
        "from lastlayer.cli.main import main\n"
        "sys.exit(main(['backends']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "lastlayer: this needs the package typer; run: pip install 'lastlayer[cli]'\n"
