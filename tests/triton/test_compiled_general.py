"""The general kernels and that for images, compiled for sm_90 without a GPU: no spills, wide loads."""

from __future__ import annotations

import re
import subprocess
import tempfile
from itertools import cycle
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from lastlayer.backends.triton import plan  # noqa: E402
from lastlayer.backends.triton.backward import backward  # noqa: E402
from lastlayer.backends.triton.planes import planes  # noqa: E402
from lastlayer.backends.triton.ranking import top_k  # noqa: E402
from lastlayer.backends.triton.statistics import statistics  # noqa: E402
from lastlayer.backends.triton.visit import visit  # noqa: E402

FLOATS = {
    "scale", "scale_low", "per_scale", "per_t", "per_t_low", "cap", "cap_low", "per_cap", "per_cap_low",
    "on", "off", "left_share", "z_loss", "factor", "temperature",
}  # fmt: skip
POINTERS = {
    "y_ptr": "*i64",
    "mask_ptr": "*i1",
    "numbers_ptr": "*i64",
    "classes_ptr": "*i64",
    "parts_ptr": "*fp64",
    "counters_ptr": "*i32",
}
SCORES = {"x_ptr", "z_ptr", "out_ptr"}
PLAIN = {
    "REDUCE": 0, "TEMPERED": False, "CAPPED": False, "MASKED": False, "PLACED": 0, "T": 0, "INTEGER": False,
    "LEFT": False, "WEIGHTED": False, "SAMPLED": False, "IGNORED": False, "Z_LOSS": False, "KP": 1,
    "LONG": False, "ROWS": False, "FOUND": 0, "FRESH": False, "LOG": False, "ONCE": True, "COUNTED": 0,
}  # fmt: skip
ALL = {"TEMPERED": True, "CAPPED": True, "T": 1, "WEIGHTED": True, "SAMPLED": True, "Z_LOSS": True}
INDEX = {"PLACED": 1, "IGNORED": True, "REDUCE": 2}
LISTED = {"PLACED": 2, "T": 1, "LEFT": True, "KP": 8, "IGNORED": True, "REDUCE": 2}
CASES = {
    "statistics": (statistics, INDEX | {"FOUND": 1}),
    "statistics, all options": (statistics, INDEX | ALL | {"FOUND": 1}),
    "statistics, dense": (statistics, {"T": 2, "WEIGHTED": True, "REDUCE": 2, "FOUND": 1}),
    "statistics, listed": (statistics, LISTED | {"FOUND": 1}),
    "lse, masked": (statistics, {"ROWS": True, "MASKED": True}),
    "predict": (statistics, {"FOUND": 3}),
    "gradient": (visit, INDEX | {"MODE": 4}),
    "gradient, all options": (visit, INDEX | ALL | {"MODE": 4}),
    "gradient, dense": (visit, {"T": 2, "WEIGHTED": True, "REDUCE": 2, "MODE": 4}),
    "softmax": (visit, {"MODE": 0, "FRESH": True}),
    "log-softmax, masked": (visit, {"MODE": 1, "FRESH": True, "MASKED": True}),
    "softmax, backward": (backward, {}),
    "log-softmax, backward": (backward, {"LOG": True}),
    "top-k": (top_k, {}),
}


def compiled(kernel, dtype, constants, ones, multiples, warps=4):
    """(registers, bytes of stack, assembler) of a kernel."""
    names = kernel.arg_names
    signature, values = {}, {}
    for name in names:
        if name in ones or name in constants:
            signature[name], values[names.index(name),] = "constexpr", constants.get(name, 1)
        elif name in SCORES:
            signature[name] = f"*{dtype}"
        elif name.endswith("_ptr"):
            signature[name] = POINTERS.get(name, "*fp32")
        else:
            signature[name] = "fp32" if name in FLOATS else "i32"
    aligned = [n for n in names if signature[n][0] == "*" or (n in multiples and signature[n] == "i32")]
    attributes = {(names.index(n),): [["tt.divisibility", 16]] for n in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=attributes)
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm[
        "cubin"
    ]
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()

        def printed(option):
            command = [tools / "cuobjdump", option, file.name]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        used = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", printed("-res-usage").splitlines()[-1]))
        return int(used["REG"]), int(used["STACK"]) + int(used["LOCAL"]), printed("-sass")


@pytest.mark.parametrize(("name", "dtype"), [*zip(CASES, cycle(["fp32", "bf16"]), strict=False)])
def test_of_rows(name, dtype):
    kernel, given = CASES[name]
    wide = dtype == "fp32" or "CAPPED" in given
    options = (
        PLAIN
        | {"WIDE": wide, "R": 1, "C": 1024 if given.get("FOUND") == 3 or "CAPPED" in given else 2048}
        | given
    )
    constants = {n: options[n] for n in kernel.arg_names if n in options}
    multiples = {"xo", "xi", "oo", "oi", "qo", "qi", "mo", "mi", "gi", "go", "yi", "yo", "V", "span"}
    registers, stack, assembler = compiled(
        kernel, dtype, constants, {"xs", "os", "qs", "ms", "gs", "ys"} & set(kernel.arg_names), multiples
    )
    assert stack == 0
    assert registers <= 168
    assert re.search(r"LDG\.E\.128", assembler), "loads of single scores"


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("mode", [0, 3, 4])
def test_of_images(mode, dtype):
    """21 classes, as in the benchmark: 8 bytes of two float32 pixels, or 4 of two bfloat16 pixels, a load."""
    size = 4 if dtype == "fp32" else 2
    p = plan.pixels(21, size)
    constants = {
        "MODE": mode, "REDUCE": 2 if mode > 2 else 0, "COUNTED": int(mode == 4), "P": p.pixels, "COUNT": 21,
        "HELD": True, "A": 16 // size, "WIDE": dtype == "fp32", "LONG": False,
    }  # fmt: skip
    registers, stack, assembler = compiled(planes, dtype, constants, set(), set(), p.warps)
    assert stack == 0
    assert registers <= 128
    loads = re.findall(r"LDG\.E(?:\.64)? ", assembler)
    assert loads.count("LDG.E.64 " if size == 4 else "LDG.E ") >= 21
    assert "U16" not in assembler
    instructions = len(re.findall(r"^\s+/\*[0-9a-f]{4,5}\*/", assembler, re.MULTILINE))
    assert instructions < {0: 1800, 3: 2400, 4: 2900}[mode]
