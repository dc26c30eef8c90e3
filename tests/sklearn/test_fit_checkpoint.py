"""A fit that was killed goes on from its checkpoint; a checkpoint of another problem is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from assertions import raises
from training_cases import made, objective

from lastlayer.errors import OptionError
from lastlayer.fitting import checkpoint as checkpoints
from lastlayer.sklearn import SoftmaxClassifier

FIT = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from training_cases import made
from lastlayer.fitting import checkpoint
from lastlayer.sklearn import SoftmaxClassifier, watching

def kill_at_step_4(name):
    def line(report):
        if report.iteration == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    return line

checkpoint.EVERY, checkpoint._SHARE = 0.0, float("inf")
watching._lines = kill_at_step_4
x, y = made(0, 3000, 20, 4)
SoftmaxClassifier(tol=1e-10, random_state=0, verbose=1, checkpoint=sys.argv[1]).fit(x, y)
"""


def head_of(path):
    with np.load(path) as file:
        return json.loads(str(file["head"][()]))


def test_a_killed_fit_goes_on_and_reaches_the_tolerance(tmp_path):
    path = tmp_path / "fit.npz"
    tests = str(Path(__file__).parents[1])
    ended = subprocess.run([sys.executable, "-c", FIT, str(path), tests], timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert head_of(path)["steps"] == 4
    x, y = made(0, 3000, 20, 4)
    options = {"tol": 1e-10, "random_state": 0}
    model = SoftmaxClassifier(**options, checkpoint=path).fit(x, y)
    whole = SoftmaxClassifier(**options).fit(x, y)
    assert model.n_iter_ > 4
    assert objective(x, y, model.coef_, model.intercept_, 1 / 3000)[1] <= 1.001e-10
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=0, atol=1e-6)
    assert head_of(path)["steps"] == model.n_iter_
    again = SoftmaxClassifier(**options, checkpoint=str(path)).fit(x, y)
    assert again.n_iter_ == model.n_iter_  # it has ended: no step is left
    np.testing.assert_allclose(again.coef_, model.coef_, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["two classes", "fewer rows than features", "sparse"])
def test_steps_are_counted_on(tmp_path, kind):
    shape = (60, 100) if kind == "fewer rows than features" else (800, 20)
    x, y = made(1, *shape, 2 if kind == "two classes" else 3)
    if kind == "sparse":
        x = scipy.sparse.csr_array(np.where(np.abs(x) > 1, x, 0))
    model = SoftmaxClassifier(C=10, tol=1e-8, checkpoint=tmp_path / "fit", max_iter=3)
    with pytest.warns(UserWarning, match="stopped after 3 iterations"):
        model.fit(x, y)
    with pytest.warns(UserWarning, match="stopped after 3 iterations"):
        model.fit(x, y)
    before = model.coef_
    model.set_params(max_iter=1000).fit(x, y)
    assert model.n_iter_ > 3
    assert not np.array_equal(model.coef_, before)
    whole = SoftmaxClassifier(C=10, tol=1e-8).fit(x, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=0, atol=1e-5)


def test_a_file_is_written_when_it_is_due(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    file = checkpoints.Checkpoint("f", tmp_path / "fit", {}, (1, 2))
    steps = []
    for step in range(12):
        now[0] = float(step)
        file.note(checkpoints.Saved(np.zeros((1, 2)), step))
        found = file.read()
        steps.append(None if found is None else found.steps)
    assert steps == [None] * 5 + [5] * 5 + [10] * 2


def test_partitions_go_on_from_rows_in_memory(tmp_path):
    x, y = made(4, 3000, 8, 3)
    model = SoftmaxClassifier(tol=1e-3, checkpoint=tmp_path / "fit").fit(x, y)
    steps = model.n_iter_
    model.set_params(tol=1e-8).fit(da.from_array(x, chunks=(700, -1)), y)
    assert model.n_iter_ > steps
    whole = SoftmaxClassifier(tol=1e-8).fit(x, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=0, atol=1e-6)


def test_a_model_with_a_checkpoint_is_saved(tmp_path):
    model = SoftmaxClassifier(checkpoint=tmp_path / "fit").fit(*made(5, 90, 4, 2))
    model.save(tmp_path / "m.safetensors")
    loaded = SoftmaxClassifier.load(tmp_path / "m.safetensors")
    assert loaded.checkpoint == str(tmp_path / "fit")


def test_other_problems_and_other_files_are_refused(tmp_path):
    x, y = made(2, 200, 5, 3)
    path = tmp_path / "fit"
    SoftmaxClassifier(checkpoint=path).fit(x, y)

    def refused(rule, x=x, y=y, **options):
        with pytest.raises(OptionError) as caught:
            SoftmaxClassifier(checkpoint=path, **options).fit(x, y)
        assert str(caught.value).startswith(f"SoftmaxClassifier.fit: checkpoint is {str(path)!r}")
        assert rule in str(caught.value)
        assert caught.value.remedy == "remove the file to begin again"

    refused("expected C=2.0", C=2)
    refused("expected rows=199", x[1:], y[1:])
    refused("expected features=4", x[:, 1:])
    refused("expected labels='", y=y + 1)
    refused("expected fit_intercept=False", fit_intercept=False)
    refused("expected class_weight=\"'balanced'\"", class_weight="balanced")
    refused("expected label_smoothing=0.1", label_smoothing=0.1)
    SoftmaxClassifier(checkpoint=path, tol=1e-6, solver="newton-cg", random_state=3).fit(x, y)
    whole = path.read_bytes()
    for damaged in (b"", b"{}", whole[:100], whole[:-60]):
        path.write_bytes(damaged)
        refused("expected a checkpoint of a fit (")
    path.write_bytes(whole)
    with np.load(path) as file:
        head, parameters = file["head"], file["parameters"]
    for wrong in (parameters[1:], parameters.astype(np.float32)):
        with path.open("wb") as file:
            np.savez(file, head=head, parameters=wrong)
        refused("expected a checkpoint of parameters (3, 6) in float64")
    with path.open("wb") as file:
        np.savez(file, head=head, parameters=parameters * np.nan)
    refused("expected a checkpoint of finite parameters")
    with path.open("wb") as file:
        np.savez(file, head=np.array("[]"), parameters=parameters)
    refused("expected a checkpoint of a fit (")


def test_a_file_that_cannot_be_written(tmp_path):
    x, y = made(3, 100, 4, 2)
    path = tmp_path / "none" / "fit"
    text = (
        f"SoftmaxClassifier.fit: checkpoint is {str(path)!r}; expected a file that can be written "
        "(No such file or directory)"
    )
    with raises(OptionError, text):
        SoftmaxClassifier(checkpoint=path).fit(x, y)
