"""The example of a probe: embeddings in a float16 file, and the classifier of them at its minimum."""

import re

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytest.importorskip("array_api_compat")

import scipy.special
from example_scripts import example

from lastlayer.sklearn import SoftmaxClassifier


@pytest.fixture(scope="module")
def probe():
    return example("probe")


def test_the_probe_is_at_the_minimum(probe, tmp_path, capsys):
    assert probe.main(["--folder", str(tmp_path), "--epochs", "1"]) == 0
    out = capsys.readouterr().out.partition("\nembeddings: ")[2]
    features = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    labels = np.load(tmp_path / "labels.npy")
    assert features.dtype == np.float16
    assert features.shape == (1797, 256)
    assert (np.abs(features).max(axis=1) > 0).all()  # every row was written
    model = SoftmaxClassifier.load(tmp_path / "embeddings.safetensors")
    x, y = features[:1000].astype(np.float64), labels[:1000]
    residuals = scipy.special.softmax(x @ model.coef_.T + model.intercept_, axis=1) - np.eye(10)[y]
    gradient = residuals.T @ x / 1000 + model.coef_ / 1000  # of the mean loss and |W|^2 / (2 C n), C = 1
    assert np.abs(gradient).max() < 1.05e-4
    assert np.abs(residuals.mean(axis=0)).max() < 1.05e-4
    logits = features[1300:].astype(np.float64) @ model.coef_.T + model.intercept_
    accuracy = (logits.argmax(axis=1) == labels[1300:]).mean()
    assert accuracy > 0.85
    assert f"  accuracy {accuracy:.6g} [" in out
    nll = -scipy.special.log_softmax(logits / float(model.temperature_), axis=1)
    found = float(re.search(r"log-loss ([\d.]+) \[", out)[1])
    assert found == pytest.approx(nll[np.arange(497), labels[1300:]].mean(), abs=1e-5)
    assert 0 < float(model.temperature_) < 1  # the penalty leaves the logits too small


def test_the_network_learns_to_tell_rotations(probe):
    pixels, _ = probe.load()
    _, first = probe.train(pixels[:300], 1)
    _, last = probe.train(pixels[:300], 6)
    assert last > first + 0.1
