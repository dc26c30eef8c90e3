"""Evaluations of Dask DataFrames: the bytes and findings of the pandas DataFrame."""

from __future__ import annotations

import warnings

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from assertions import raises

import lastlayer as ll
from lastlayer.errors import DtypeError, OptionError, ShapeError, TargetError

N, NAMES = 501, ["ant", "bee", "cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture
def frame():
    r = np.random.default_rng(0)
    z, y = r.normal(size=(N, 5)).astype(np.float32) * 3, r.integers(0, 5, N)
    found = pd.DataFrame({f"logit:{name}": z[:, j] for j, name in enumerate(NAMES)})
    found["label"], found["site"] = np.array(NAMES)[y], np.array(["left", "right"])[y % 2]
    found["w"], found["text"] = r.integers(1, 9, N) / 7, np.arange(N) // 20
    found.loc[400, "logit:cat"] = np.nan
    return found


def seen(scores, targets=None, **options):
    found = []
    result = ll.evaluate(scores, targets, counted=found.append, **options)
    return found[0].to_bytes(), result.findings


def scores_of(frame):
    return frame[[name for name in frame.columns if name.startswith("logit:")]]


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_columns_of_a_frame(frame, parts):
    facts = {"groups": "site", "sample_weight": "w", "documents": "text"}
    expected = seen(frame, **facts)
    divided = dd.from_pandas(frame, npartitions=parts)
    assert seen(divided, **facts) == expected
    # lengths that nobody knows, and partitions without a row
    assert seen(divided[divided.w > 0], **facts) == expected
    some = frame[frame.text > 12]
    assert seen(divided[divided.text > 12], **facts) == seen(some, **facts)


def test_targets_and_facts_beside_a_frame(frame):
    expected = seen(frame, groups="site", sample_weight="w")
    divided = dd.from_pandas(frame, npartitions=7)
    other = divided.repartition(npartitions=3)
    names = frame.label.to_numpy(dtype=object)
    for labels in (frame.label, names, divided.label, da.from_array(names, chunks=200)):
        assert seen(divided, labels, groups=divided.site, sample_weight=frame.w) == expected
    with raises(
        ShapeError,
        "evaluate: targets is in 3 partitions of unknown lengths; expected the 7 partitions of scores; "
        "call compute_chunk_sizes() of both first",
    ):
        ll.evaluate(divided, other.label)


def test_arrays_of_a_frame(frame):
    """Their chunks have unknown lengths; text becomes objects without a warning."""
    divided = dd.from_pandas(frame, npartitions=4)
    z, expected = scores_of(divided).values, seen(scores_of(frame).to_numpy(), frame.label, labels=NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert seen(z, divided.label, labels=NAMES) == expected
    assert seen(z, frame.label.to_numpy(), labels=NAMES) == expected
    p = ll.softmax(scores_of(frame).to_numpy())[:, 0]
    one = frame.assign(p=p, y=(frame.label == "ant").astype(int)).dropna()
    parts, options = dd.from_pandas(one, npartitions=4), {"kind": "probabilities", "binary": True}
    assert seen(parts.p, parts.y, **options) == seen(one.p, one.y, **options)


def test_a_column_of_lists(frame):
    lists = pd.DataFrame({"scores": list(scores_of(frame).to_numpy()), "label": frame.text % 4})
    with dask.config.set({"dataframe.convert-string": False}):
        divided = dd.from_pandas(lists, npartitions=4)
    assert seen(divided, columns="scores") == seen(lists, columns="scores")
    shorter = lists.assign(scores=lists.scores.map(lambda row: row[:4]))
    with dask.config.set({"dataframe.convert-string": False}):
        both = dd.concat([divided, dd.from_pandas(shorter, npartitions=1)])
    with raises(OptionError, "evaluate: a partition is of classes=4; expected classes=5"):
        ll.evaluate(both, columns="scores")


def test_no_rows_at_all(frame):
    divided = dd.from_pandas(frame, npartitions=3)
    assert seen(divided[divided.w < 0]) == seen(frame[frame.w < 0])


def test_errors(frame):
    divided = dd.from_pandas(frame, npartitions=7)
    with raises(
        OptionError,
        "evaluate: groups is 'place'; expected a column of the table ('logit:ant', 'logit:bee', 'logit:cat', "
        "'logit:dog', 'logit:emu', 'label', 'site', 'w', ...)",
    ):
        ll.evaluate(divided, groups="place")
    frame.loc[444, "label"] = "fly"
    for scores in (frame, dd.from_pandas(frame, npartitions=7)):
        with pytest.raises(TargetError) as caught:
            ll.evaluate(scores)
        assert "targets[444]" in str(caught.value)
        assert "'fly'" in str(caught.value)


def test_comparisons_are_of_tables_in_memory(frame):
    divided = dd.from_pandas(frame, npartitions=3)
    with raises(DtypeError, "compare: a is a DataFrame of Dask; expected a table in memory; call compute()"):
        ll.compare(divided, divided)
    with raises(DtypeError, "compare: b is a DataFrame of Dask; expected a table in memory; call compute()"):
        ll.compare(frame, divided)


def test_temperatures(frame):
    frame = frame.dropna()
    expected = ll.fit_temperature(frame, sample_weight="w")
    assert 1 < expected.value < 1000
    for parts in (1, 2, 7):
        assert ll.fit_temperature(dd.from_pandas(frame, npartitions=parts), sample_weight="w") == expected
