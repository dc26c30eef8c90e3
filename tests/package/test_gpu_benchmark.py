"""The benchmark of `make gpu`, dry: on the CPU, on tiny shapes, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is for Linux")

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"

BROKEN = """
import contenders, run
usual = contenders.ours
def ours(function, *rest):
    found = usual(function, *rest)
    if function == "softmax":
        return lambda: found().fill_(0.1)
    if function == "loss":
        raise MemoryError("none is left")
    return found
run.main([*{arguments}, "--budget", "0", "--out", {early!r}])
contenders.ours = ours
raise SystemExit(run.main([*{arguments}, "--out", {out!r}]))
"""


def child(*argv):
    environment = {**os.environ, "TRITON_INTERPRET": "1", "LASTLAYER_BACKEND": "triton"}
    environment["PYTHONPATH"] = str(FOLDER)
    return subprocess.run(
        [sys.executable, *map(str, argv)], env=environment, capture_output=True, text=True, timeout=120
    )


def record_of(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_all_steps_write_a_table_and_a_record(tmp_path):
    found = child(FOLDER / "steps.py", "--device", "cpu", "--out", tmp_path, "--logs", tmp_path / "logs")
    assert found.returncode == 0, found.stdout + found.stderr
    record = record_of(tmp_path)
    assert {one["shape"] for one in record["measured"]} == {"6x10", "3x100", "2x257", "1x3x2x4"}
    for one in record["measured"]:
        for name, function in one["functions"].items():
            assert function["wrong"] == {}, (one["shape"], name)
            assert function["checks"] == {"repeated": None}
            assert function["ms"]["lastlayer"] > 0
            assert function["share"] > 0
    assert len(record["small"]) == 10
    assert record["errors"] == []
    assert record["steps"]["measure"].startswith("done")
    (table,) = tmp_path.glob("*.md")
    text = table.read_text()
    assert text in found.stdout
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 1 + 8
    assert "errors in ULP, float32: softmax " in text


def test_it_stops_when_its_time_is_spent_and_what_fails_does_not_stop_the_rest(tmp_path):
    arguments = ["--device", "cpu", "--quick", "--no-general", "--shapes", "6x10"]
    early, out = tmp_path / "early", tmp_path / "out"
    found = child("-c", BROKEN.format(arguments=arguments, early=str(early), out=str(out)))
    assert found.returncode == 1, found.stderr
    record = record_of(early)
    assert record["measured"] == []
    assert record["stopped"] == "stopped before 6x10 bfloat16: the budget is spent"
    record = record_of(out)
    for one in record["measured"]:
        functions = one["functions"]
        assert functions["softmax"]["wrong"] == {"lastlayer": "60 of 60 results are off"}
        assert "share" not in functions["loss"]
        assert functions["both ways"]["share"] > 0
    assert "  6x10 float32 softmax: lastlayer: 60 of 60 results are off" in found.stdout
    assert "MemoryError: none is left" in found.stdout
