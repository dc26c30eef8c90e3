"""What runs on any processor of the architecture holds no instruction that only some have.

Two ways to know: the objects that CMake built are disassembled, and where an emulator of an old processor is
found, the core runs on it. Without a build tree (a wheel is tested) or without the tools, a test is skipped.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lastlayer

pytest.importorskip("lastlayer._core", reason="the native core is not built")

X86 = platform.machine().lower() in ("x86_64", "amd64")
pytestmark = pytest.mark.skipif(not X86, reason="elsewhere the baseline is all there is")

ROOT = Path(__file__).parents[2]
# AVX and everything after it: wide registers, mask registers, or a mnemonic with the prefix of that encoding.
LATER = re.compile(r"%[yz]mm|%k[0-7]\b|\tv[a-z]+[0-9a-z]*\s")
# Processors of 2008: SSE4.2, no AVX. (NumPy asks for SSE4.2 itself.)
OLD = "Nehalem"


def build_trees():
    """The build trees of this checkout without sanitizers, the newest first."""
    found = []
    for cache in ROOT.glob("build/*/CMakeCache.txt"):
        if re.search(r"^LASTLAYER_SANITIZE:\w+=.", cache.read_text(), re.MULTILINE):
            continue
        objects = [p for p in cache.parent.rglob("*.o") if "native/" in p.as_posix()]
        if any(p.name == "baseline.cpp.o" for p in objects):
            found.append((max(p.stat().st_mtime for p in objects), cache.parent, objects))
    return [(tree, objects) for _, tree, objects in sorted(found, reverse=True)]


def later_instructions(objects):
    """Instructions that the baseline lacks, by the name of the object."""
    for path in objects:
        text = subprocess.run(
            ["objdump", "--disassemble", "--no-show-raw-insn", path],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        yield path.name, [line.strip() for line in text.splitlines() if LATER.search(line)]


def test_the_objects_hold_no_later_instruction():
    trees = build_trees()
    if not trees or not shutil.which("objdump"):
        pytest.skip("needs a build tree and objdump")
    wide = [path for path in trees[0][1] if path.name.startswith("avx")]
    for name, lines in later_instructions(wide):
        assert lines, f"the search finds nothing in {name}"
    seen = set()
    for tree, objects in trees:
        for name, lines in later_instructions(p for p in objects if not p.name.startswith("avx")):
            seen.add(name)
            assert not lines, f"{name} in {tree.name}: {lines[:3]}"
    assert {"baseline.cpp.o", "dispatch.cpp.o", "pool.cpp.o"} <= seen


# The core on the old processor: what a call gives, for every operation and both forms of the kernels.
SCRIPT = """
    import numpy as np
    import lastlayer as ll
    from lastlayer import selection
    from lastlayer.backends.core import native

    assert native.isas() == ["baseline"], native.isas()
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.float64):
        for rows, classes in ((70, 3), (9, 10), (5, 33), (3, 1000), (2, 4097)):
            x = (4 * rng.normal(size=(rows, classes))).astype(dtype)
            y = rng.integers(0, classes, rows)
            dense = ll.softmax(rng.normal(size=x.shape))
            for a in (x, np.asfortranarray(x), x[::-1]):
                def everything():
                    s = ll.row_stats(a, y)
                    return (
                        ll.softmax(a), ll.log_softmax(a), ll.logsumexp(a), s.nll, s.entropy, s.rank, s.argmax,
                        *ll.cross_entropy_grad(a, y, label_smoothing=0.1, z_loss=1e-3, softcap=20.0),
                        *ll.cross_entropy_grad(a, dense), ll.log_loss(dense, y), *ll.top_k(a, 2),
                    )
                with selection.use("native"):
                    found = everything()
                with selection.use("reference"):
                    expected = everything()
                for f, e in zip(found, expected, strict=True):
                    bound = {"e": 2e-3, "f": 1e-5}.get(f.dtype.char, 1e-11)
                    np.testing.assert_allclose(f, e, rtol=bound, atol=bound / classes)
    print("right")
"""


def run_old(*command):
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("needs qemu-x86_64")
    return subprocess.run(
        [emulator, "-cpu", OLD, *map(str, command)], capture_output=True, text=True, timeout=300, check=False
    )


def test_the_package_runs_on_an_old_processor():
    path = f"import sys; sys.path.insert(0, {str(Path(lastlayer.__file__).parents[1])!r})\n"
    done = run_old(sys.executable, "-c", path + textwrap.dedent(SCRIPT))
    assert done.stdout == "right\n", done.stderr


def test_the_native_tests_pass_on_an_old_processor():
    programs = [tree / "lastlayer_native_tests" for tree, _ in build_trees()]
    programs = [program for program in programs if program.exists()]
    if not programs:
        pytest.skip("needs a build tree with LASTLAYER_TESTS=ON and no sanitizer")
    done = run_old(programs[0], "--quick", "--no-fork")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("instruction sets: baseline\n")
