"""Compile kernels in Triton for a GPU without one, and read what the compiler made of them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

__all__ = ["Code", "compiled"]

TYPES = {
    torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.uint8: "u8",
}  # fmt: skip


class Code(NamedTuple):
    """The machine code of a kernel."""

    registers: int
    stack: int
    names: Counter[str]  # of instructions


def compiled(
    kernel: Any, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int, capability: int = 90
) -> Code:
    """What the compiler makes of a kernel with such arguments, of which all aligned ones stay so."""
    names = kernel.arg_names
    signature, values, aligned = {}, {}, {}
    loose = {kernel.arg_names.index(p.name) for p in kernel.params if p.do_not_specialize_on_alignment}
    for i, (name, x) in enumerate(zip(names, (*arguments, *constants), strict=True)):
        if x is None or i >= len(arguments):
            signature[name] = "constexpr"
            values[(i,)] = x
        elif isinstance(x, int | float):
            signature[name] = "fp32" if isinstance(x, float) else "i32"
        else:
            signature[name] = "*" + TYPES[x.dtype]
            if i not in loose:
                aligned[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    return _read(built.asm["cubin"])


def _read(binary: bytes) -> Code:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage, sass = (
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True)
            for option in ("-res-usage", "-sass")
        )
    text = usage.stdout + usage.stderr
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)", sass.stdout, re.M)
    return Code(int(found[1]), int(found[2]), Counter(name for name in names if name != "NOP"))
