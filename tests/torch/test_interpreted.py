"""The kernels in Triton: their tests and the conformance suite, in Triton's interpreter, in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lastlayer.backends.core import core

pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is for Linux")

TESTS = Path(__file__).parent.parent
# What each process runs. Long rows take seconds each in the interpreter.
PARTS = {
    "kernels": ["triton"],
    "conformance": [
        *(f"conformance/test_{name}.py" for name in ("inactive_rows", "shards", "row_stats", "extremes")),
        *("-k", "not 70 and not 1000"),
    ],
}


def check(part):
    environment = os.environ | {"TRITON_INTERPRET": "1", "LASTLAYER_BACKEND": "triton"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *part],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.parametrize("part", PARTS)
def test_in_a_process(part):
    check(PARTS[part])


@pytest.mark.soak
@pytest.mark.parametrize("name", ["accuracy", "cases", "layouts", "long_rows", "properties", "top_k_targets"])
def test_the_rest_in_a_process(name):
    check([f"conformance/test_{name}.py"])


def test_on_a_cpu_the_kernels_are_not_imported_and_refuse_tensors():
    code = """
import sys, torch, lastlayer as ll
from lastlayer import selection
x = torch.zeros(2, 3, requires_grad=True)
ll.cross_entropy(x, torch.tensor([0, 1])).backward()
ll.softmax(x.detach())
print(any(name.startswith("lastlayer.backends.triton") for name in sys.modules))
for backend in ll.show_backends():
    print(backend.name, backend.why_not)
with selection.use("triton"):
    print(ll.softmax([0.0, 0.0]))
    ll.softmax(x)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "LASTLAYER_BACKEND": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-4:] == [
        "native None" if core.BUILT else f"native {core.WHY_NOT}",
        "triton no CUDA device",
        "reference None",
        "[0.5 0.5]",
    ]
    assert done.stdout.startswith("False")
    message = "cannot be run by backend 'triton' (it computes CPU tensors only where TRITON_INTERPRET=1)"
    assert done.stderr.rstrip().endswith(f"BackendError: a tensor on cpu {message}")
