"""How an evaluation was computed: what `Evaluation.run` says, and that equal numbers stay equal."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import backends
import numpy as np
import pytest
from evaluations import rows

import lastlayer as ll
from lastlayer.evaluation.run import described

Z, Y = rows(30)  # float32, four classes


def test_a_run():
    before = datetime.now(timezone.utc)
    found = ll.evaluate(Z, Y).run
    after = datetime.now(timezone.utc)
    assert found.source == "float32 array of shape (30, 4)"
    assert found.n_bytes == 30 * 4 * 4
    assert 0 < found.seconds <= (after - before).total_seconds()
    started = datetime.fromisoformat(found.started)
    assert before - timedelta(seconds=1) <= started <= after
    assert started.utcoffset() == timedelta(0)
    assert found.versions["lastlayer"] == version("lastlayer") == ll.__version__
    assert found.versions["Python"] == platform.python_version()
    assert found.versions["NumPy"] == np.__version__


@pytest.mark.parametrize("name", backends.BACKENDS)
def test_the_backend_that_counted(name):
    with backends.on(name):
        found = ll.evaluate(Z, Y).run.versions["backend"]
    if name == "reference":
        assert found == "reference (NumPy)"
    else:
        assert found == f"C++ core on {name.partition(':')[2]}, {ll.get_num_threads()} threads"


def test_it_is_in_the_json_and_no_part_of_equality():
    a, b = ll.evaluate(Z, Y), ll.evaluate(Z.copy(), Y)
    b = replace(b, run=replace(b.run, seconds=a.run.seconds + 1))
    assert a == b
    assert a != ll.evaluate(Z[:-1], Y[:-1])
    assert a.to_json() != b.to_json()
    assert replace(a, run=None).to_json() == replace(b, run=None).to_json()
    saved = json.loads(a.to_json())["run"]
    assert saved == vars(a.run)
    tally = ll.Tally(4)
    tally.update(Z, Y, rows=np.arange(30))
    assert tally.result().run is None
    assert json.loads(tally.result().to_json())["run"] is None
    assert replace(a, findings=()) == tally.result()


def test_files(tmp_path):
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", logits=Z[10 * i : 10 * i + 10], targets=Y[10 * i : 10 * i + 10])
    one, pattern = tmp_path / "0.npz", str(tmp_path / "[12].npz")
    assert ll.evaluate(one).run.source == str(one)
    found = ll.evaluate(pattern).run
    assert (found.source, found.n_bytes) == (f"2 files of {pattern}", 20 * 4 * 4)
    assert ll.evaluate(tmp_path).run.source == f"3 files of {tmp_path}"
    np.save(tmp_path / "y.npy", Y[:10])
    assert ll.evaluate(one, tmp_path / "y.npy").run.source == f"{one}, targets of {tmp_path / 'y.npy'}"
    assert described(tmp_path / "none.npy") == str(tmp_path / "none.npy")


def test_other_data():
    pandas, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    table = pandas.DataFrame({"logit:a": [1.0, 2.0], "logit:b": [0.0, 3.0], "label": ["a", "b"]})
    assert ll.evaluate(table).run.source == "table (pandas.DataFrame) of shape (2, 3)"
    tensor = torch.tensor(Z).bfloat16()
    assert ll.evaluate(tensor, Y).run.source == "bfloat16 array of shape (30, 4)"
    assert ll.evaluate(Z.tolist(), Y).run.source == "list of 30 rows"
    batches = [(Z[:10], Y[:10]), (Z[10:], Y[10:])]
    assert ll.evaluate(batches).run.source == "batches of a list"
    found = ll.evaluate(batch for batch in batches).run
    assert (found.source, found.n_bytes) == ("batches of a generator", 30 * 4 * 4)


def test_a_checkpoint_and_progress(tmp_path):
    told = []
    found = ll.evaluate(Z, Y, checkpoint=tmp_path / "c", progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (30, 30, found.run.n_bytes)
    again = ll.evaluate(Z, Y, checkpoint=tmp_path / "c")  # all of it is there
    assert again == found
    assert again.run.n_bytes is None


def test_dask():
    array, frame = pytest.importorskip("dask.array"), pytest.importorskip("dask.dataframe")
    pandas = pytest.importorskip("pandas")
    found = ll.evaluate(array.from_array(Z, chunks=(10, 4)), Y).run
    assert (found.source, found.n_bytes) == ("float32 array of shape (30, 4)", 30 * 4 * 4)
    table = pandas.DataFrame({"logit:a": [1.0, 2.0], "logit:b": [0.0, 3.0], "label": ["a", "b"]})
    assert ll.evaluate(frame.from_pandas(table, npartitions=2)).run.source == "table (dask.DataFrame)"
