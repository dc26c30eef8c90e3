"""What type checkers see: results of known types, refused mistakes, options as in the functions."""

from __future__ import annotations

import inspect
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

import lastlayer as ll
from lastlayer import typing

ROOT = Path(__file__).parents[2]
USES = Path(__file__).with_name("typed")  # as users would write


def test_mypy_accepts_the_uses_and_refuses_the_mistakes(monkeypatch):
    for name in ("array_api_strict", "jax", "torch"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    mypy = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)  # where mypy's configuration and cache are
    report, errors, _ = mypy.run(["--strict", str(USES)])
    assert (report.splitlines()[-1:], errors) == (["Success: no issues found in 4 source files"], ""), report


@pytest.mark.parametrize("name", ["arrays", "tensors", "mistakes"])
def test_the_uses_run(name):
    if name != "arrays":
        pytest.importorskip("array_api_strict")
        pytest.importorskip("torch")
    pytest.importorskip("typing_extensions")
    runpy.run_path(str(USES / f"{name}.py"))


OPTIONS = {
    ll.softmax: (typing.SoftmaxOptions, "x axis out"),
    ll.log_softmax: (typing.SoftmaxOptions, "x axis out"),
    ll.cross_entropy: (typing.CrossEntropyOptions, "logits targets reduction"),
    ll.cross_entropy_grad: (typing.CrossEntropyOptions, "logits targets reduction"),
    ll.nll_loss: (typing.LossOptions, "log_probs targets reduction"),
    ll.log_loss: (typing.LossOptions, "probs targets reduction"),
    ll.row_stats: (typing.RowStatsOptions, "logits targets"),
    ll.predict: (typing.PredictOptions, "logits"),
    ll.top_k: (typing.TopKOptions, "logits k"),
    ll.linear_cross_entropy: (typing.LossOnly, "x weight targets reduction"),
    ll.linear_cross_entropy_grad: (typing.WithStats, "x weight targets reduction"),
    ll.linear_row_stats: (typing.LinearRowStatsOptions, "x weight targets"),
    ll.linear_top_k: (typing.LinearTopKOptions, "x weight k"),
}


@pytest.mark.parametrize("function", OPTIONS)
def test_every_option_has_its_type(function):
    options, others = OPTIONS[function]
    assert {*options.__annotations__, *others.split()} == set(inspect.signature(function).parameters)


def test_the_types_can_be_read_when_a_program_runs():
    import typing as python

    for options, _ in OPTIONS.values():
        assert set(python.get_type_hints(options)) == set(options.__annotations__)
    for function in OPTIONS:
        assert "return" in python.get_type_hints(function)
    assert ll.RowStats[float] is not None
