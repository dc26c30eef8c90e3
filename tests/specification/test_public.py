"""What the package shows, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import lastlayer as ll

FUNCTIONS = {
    "softmax": "(x, axis=-1, *, where=None, temperature=1.0, out=None)",
    "log_softmax": "(x, axis=-1, *, where=None, temperature=1.0, out=None)",
    "logsumexp": "(x, axis=-1, *, where=None, keepdims=False)",
    "cross_entropy": (
        "(logits, targets, *, axis=-1, class_weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, temperature=1.0, softcap=None, z_loss=0.0, reduction='mean', denominator=None, "
        "validate=False)"
    ),
    "cross_entropy_grad": (
        "(logits, targets, *, axis=-1, class_weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, temperature=1.0, softcap=None, z_loss=0.0, reduction='mean', denominator=None, "
        "validate=False)"
    ),
    "linear_cross_entropy": (
        "(x, weight, targets, *, bias=None, max_memory=None, shift=0, class_weight=None, "
        "sample_weight=None, ignore_index=-100, label_smoothing=0.0, temperature=1.0, softcap=None, "
        "z_loss=0.0, reduction='mean', denominator=None, return_stats=False, validate=False)"
    ),
    "linear_cross_entropy_grad": (
        "(x, weight, targets, *, bias=None, max_memory=None, shift=0, class_weight=None, "
        "sample_weight=None, ignore_index=-100, label_smoothing=0.0, temperature=1.0, softcap=None, "
        "z_loss=0.0, reduction='mean', denominator=None, return_stats=False, validate=False)"
    ),
    "linear_row_stats": (
        "(x, weight, targets=None, *, bias=None, max_memory=None, shift=0, class_weight=None, "
        "sample_weight=None, ignore_index=-100, label_smoothing=0.0, temperature=1.0, softcap=None, "
        "class_offset=None, validate=False)"
    ),
    "linear_top_k": "(x, weight, k, *, bias=None, max_memory=None, temperature=1.0, softcap=None)",
    "nll_loss": (
        "(log_probs, targets, *, axis=-1, class_weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, reduction='mean', denominator=None, validate=False)"
    ),
    "log_loss": (
        "(probs, targets, *, axis=-1, class_weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, reduction='mean', denominator=None, validate=False)"
    ),
    "row_stats": (
        "(logits, targets=None, *, axis=-1, class_weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, temperature=1.0, softcap=None, "
        "class_offset=None, target_logits=None, validate=False)"
    ),
    "predict": "(logits, *, axis=-1, temperature=1.0, softcap=None)",
    "top_k": "(logits, k, *, axis=-1, temperature=1.0)",
    "explain": (
        "(logits, target=None, *, labels=None, temperature=1.0, softcap=None, label_smoothing=0.0, "
        "class_weight=None, kind='logits')"
    ),
    "show_backends": "()",
    "get_num_threads": "()",
    "set_num_threads": "(n)",
}
OTHERS = {
    "Estimate",
    "Evaluation",
    "EvaluationInterrupted",
    "Explanation",
    "evaluate",
    "compare",
    "Comparison",
    "ComparisonInterrupted",
    "PairedTally",
    "Tally",
    "Temperature",
    "fit_temperature",
    "check",
    "RowStats",
    "LastlayerError",
    "ShapeError",
    "DtypeError",
    "TargetError",
    "OptionError",
    "BackendError",
}


def test_names():
    assert set(ll.__all__) == {*FUNCTIONS, *OTHERS, "__version__"}
    assert all(hasattr(ll, name) for name in ll.__all__ if name != "__version__")
    assert set(ll.__all__) <= set(dir(ll))
    with pytest.raises(AttributeError, match="no attribute 'softplus'"):
        _ = ll.softplus


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(name):
    parameters = inspect.signature(getattr(ll, name)).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    assert str(inspect.Signature(bare)) == FUNCTIONS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_has_an_example_that_runs(name):
    assert ">>> " in getattr(ll, name).__doc__


@pytest.mark.parametrize(
    "first",
    [
        "import lastlayer",
        "from lastlayer import check",
        "import lastlayer.checking.check",
        "import lastlayer.checking.mistakes, lastlayer.checking.observers",
        "from lastlayer.checking import check, mistakes",
    ],
)
def test_check_is_the_function_whatever_was_imported_first(first):
    code = f"{first}\nimport lastlayer\nfrom lastlayer import check\n"
    code += "print(lastlayer.check is check, check([[2.0, 1.0, 0.1]], [0]), lastlayer.check is check)"
    assert run(code) == ("True no findings True", "")


def run(code, **environment):
    import os

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.stdout.strip(), done.stderr


def test_import_is_cheap():
    heavy = [
        "torch",
        "scipy",
        "matplotlib",
        "rich",
        "mpmath",
        "ml_dtypes",
        "sklearn",
        "array_api_compat",
        "dask",
    ]
    code = f"""
import sys, numpy
before = set(sys.modules)
import lastlayer
print("after import:", *[m for m in {heavy} if m in sys.modules])
lastlayer.softmax([1.0, 2.0])
lastlayer.cross_entropy_grad(numpy.zeros((2, 3), numpy.float32), [1, 2])
print("after use:", *[m for m in {heavy} if m in sys.modules])
print(len(set(sys.modules) - before))
"""
    out, errors = run(code)
    assert errors == ""
    assert out.split("\n")[:2] == ["after import:", "after use:"]
    assert int(out.split("\n")[2]) < 50


def test_backend_by_environment():
    code = "import lastlayer as ll; print([b.why_not for b in ll.show_backends()])"
    out, _ = run(code, LASTLAYER_BACKEND="reference")
    assert out.endswith("None]")
    assert "None, None" not in out
    _, errors = run(code, LASTLAYER_BACKEND="cuda")
    assert "BackendError: backend is 'cuda'; expected 'native' or 'reference'" in errors


def test_without_the_compiled_core():
    code = (
        "import sys; sys.modules['lastlayer._core'] = None\n"
        "import lastlayer as ll; print(ll.softmax([0.0, 0.0]).tolist()); print(ll.show_backends())"
    )
    out, errors = run(code, LASTLAYER_BACKEND="")
    assert errors == ""
    first, table = out.split("\n", 1)
    assert first == "[0.5, 0.5]"
    assert "native     not available: this installation was built without a C++ compiler; get one" in table
    _, errors = run(code, LASTLAYER_BACKEND="native")
    assert "BackendError: backend is 'native'; expected one that is available" in errors
