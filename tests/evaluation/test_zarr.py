"""Zarr arrays as scores, targets and weights."""

from __future__ import annotations

import numpy as np
import pytest
from evaluations import NAMES, N, V, assert_same

import lastlayer as ll


def test_zarr(data, tmp_path, monkeypatch):
    """Chunks are read some rows at a time, also where blocks and chunks end at different rows."""
    zarr = pytest.importorskip("zarr")
    from lastlayer.evaluation.readers import arrays

    z, y, _ = data
    w, opened = np.random.default_rng(1).random(N), {}
    for name, array, chunks in (("z", z, (64, 2)), ("y", y, (50,)), ("w", w, (300,))):
        saved = zarr.create_array(tmp_path / name, shape=array.shape, dtype=array.dtype, chunks=chunks)
        saved[:] = array
        opened[name] = zarr.open_array(tmp_path / name, mode="r")
    expected = ll.evaluate(z, y, sample_weight=w)
    calibrated, findings = ll.fit_temperature(z, y), ll.check(z, y)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 37 * V * 4)
    read, get = [], zarr.Array.__getitem__

    def counted(self, index):
        found = get(self, index)
        read.append(len(found))
        return found

    def refused(self, *_, **__):
        raise AssertionError("an array is read as a whole")

    monkeypatch.setattr(zarr.Array, "__array__", refused)
    monkeypatch.setattr(zarr.Array, "__getitem__", counted)
    found = ll.evaluate(opened["z"], opened["y"], sample_weight=opened["w"], checkpoint=tmp_path / "c")
    assert_same(found, expected)
    assert max(read) == 37
    assert ll.fit_temperature(opened["z"], opened["y"]) == calibrated
    assert ll.check(opened["z"], opened["y"]) == findings
    with pytest.raises(ll.OptionError, match=r"of source.scores.content='\w+'; expected"):
        ll.evaluate(w[:, None] * z, opened["y"], sample_weight=opened["w"], checkpoint=tmp_path / "c")


def test_names_in_strings_of_any_length(data, tmp_path):
    """NumPy's own strings, as Zarr reads them: a checkpoint tells them by their letters."""
    zarr = pytest.importorskip("zarr")
    z, y, expected = data
    labels = [name + " of more letters than fit into an element" for name in NAMES]
    names = np.array([labels[k] for k in y], dtype=np.dtypes.StringDType())
    saved = zarr.create_array(tmp_path / "y", shape=(N,), dtype=names.dtype, chunks=(50,))
    saved[:] = names
    opened = zarr.open_array(tmp_path / "y", mode="r")
    for targets in (names, opened):
        assert_same(ll.evaluate(z, targets, labels=labels), expected)
        for _ in range(2):
            again = np.array(names.tolist(), dtype=names.dtype) if targets is names else opened
            found = ll.evaluate(
                z, again, labels=labels, checkpoint=tmp_path / f"{type(targets).__name__}.json"
            )
            assert_same(found, expected)
        assert ll.check(z, targets, labels=labels) == ll.check(z, y)
    others = np.array([labels[(k + 1) % V] for k in y], dtype=names.dtype)  # of the same lengths
    with pytest.raises(ll.OptionError, match=r"source.targets.0..content="):
        ll.evaluate(z, others, labels=labels, checkpoint=tmp_path / "ndarray.json")
