"""The kernels of the usual cases, compiled for sm_90: no spills, 16-byte accesses, instructions per score."""

from __future__ import annotations

import re
from collections import Counter

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is made for Linux")

from compiled import compiled  # noqa: E402 - needs triton

from lastlayer.backends.torch.composed import Form  # noqa: E402 - needs torch
from lastlayer.backends.torch.targets import Target  # noqa: E402 - needs torch


@pytest.fixture
def launched(monkeypatch):
    """The kernels that calls would launch on an H200, as (kernel, arguments, constants, warps)."""
    from lastlayer.backends.triton import calls, fast, launching

    found = []

    def launch(kernel, grid, arguments, constants, warps):
        del grid
        found.append((kernel, arguments, constants, warps))

    monkeypatch.setattr(fast, "launch", launch)
    monkeypatch.setattr(fast, "processors", lambda _: 132)
    monkeypatch.setattr(fast, "workspace", lambda x, *sizes: launching._new_workspace(x, *(*sizes, 0)[:2]))
    monkeypatch.setattr(fast, "_in_order", lambda: False)

    def run(what, n, classes, dtype):
        found.clear()
        z, y = torch.empty(n, classes, dtype=dtype), torch.empty(n, dtype=torch.int64)
        form = Form(ignore_index=-100)
        if what == "softmax":
            calls.softmax(z, None, -1, 1.0, False)
        elif what == "loss":
            calls.cross_entropy(z, Target(y), form)
        elif what == "gradient":
            calls.cross_entropy_and_gradient(z, Target(y), form)
        else:
            none = Form(ignore_index=-100, reduction="none")
            calls.gradient(torch.ones(n), z, Target(y), none, (torch.ones(n), torch.ones(n)))
        return [one for one in found if one[0].__name__ != "count"][-1]

    return run


# what, rows, classes, dtype -> the kernel, and the most registers and instructions per score of a thread.
CASES = [
    ("softmax", 4096, 10, "bfloat16", "few", 64, 45),
    ("gradient", 4096, 10, "float32", "few", 80, 115),
    ("softmax", 4096, 1000, "bfloat16", "tile", 96, 24),
    ("softmax", 4096, 4096, "float32", "tile", 128, 38),
    ("loss", 4096, 1000, "float32", "tile", 96, 88),
    ("gradient", 4096, 4096, "bfloat16", "tile", 160, 40),
    ("loss", 8192, 8192, "bfloat16", "lines", 128, 75),
    ("loss", 1024, 32000, "bfloat16", "spans", 96, 75),
    ("loss", 512, 50257, "float32", "spans", 96, 150),
    ("softmax", 512, 128256, "bfloat16", "follow", 96, 32),
    ("gradient", 512, 50257, "float32", "follow", 96, 140),
    ("again", 512, 50304, "bfloat16", "again", 96, 24),
]


@pytest.mark.parametrize(("what", "n", "classes", "dtype", "kernel", "registers", "instructions"), CASES)
def test_compiled_code(launched, what, n, classes, dtype, kernel, registers, instructions):
    function, arguments, constants, warps = launched(what, n, classes, getattr(torch, dtype))
    assert function.__name__ == kernel
    code = compiled(function, arguments, constants, warps)
    assert code.stack == 0
    assert not any(name.startswith(("LDL", "STL")) for name in code.names)
    assert code.registers <= registers
    scores = _scores(kernel, constants, function.arg_names, warps)
    assert sum(code.names.values()) / scores <= instructions
    wide = Counter(re.sub(r"\..*128$", ".128", name) for name in code.names.elements())
    assert wide["LDG.128"] > 0
    if what != "loss":
        assert wide["STG.128"] > 0


def _scores(kernel, constants, names, warps):
    """The scores of a tile that a thread holds."""
    values = dict(zip(names[-len(constants) :], constants, strict=True))
    rows = values.get("R", 1)
    held = rows * values["C"] if kernel == "few" else rows * values["K"] * values["C"]
    return held / (32 * warps)
