"""Imports point downward: every import of the package is counted, lazy ones and those for types too."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lastlayer

ROOT = Path(lastlayer.__file__).parent
# From the ground up. A module may import modules of its own layer and of those before it. A name stands for a
# module, or for a folder with all that is in it.
LAYERS = [
    ["errors", "typing", "clients"],
    ["arrays", "labels", "options", "selection"],
    ["_core"],
    ["row_law", "row_checks", "row_table"],
    ["row_statistics", "row_terms"],
    ["problem"],
    ["linear"],
    ["backends.backend"],
    ["resolving"],
    ["backends.reference", "backends.core"],
    ["threads"],
    ["shards"],
    ["backends.torch", "backends.triton"],
    ["dispatch"],
    ["linear_arrays"],
    ["functional", "linear_functional"],
    ["torch"],
    ["blocks"],
    ["checking"],
    ["evaluation.estimates"],
    ["plots"],  # of results as they are: they know what these hold, and import none of them
    ["explaining"],
    ["report"],
    ["evaluation", "fitting"],
    ["sklearn"],
    ["explore"],
    ["cli", "__main__"],
]


def modules():
    """The file of each module of the package, by its name inside the package."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()


def imported(name):
    """The modules that a module imports, wherever in it and for whatever."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.startswith("lastlayer.")]
            found |= {one.removeprefix("lastlayer.") for one in ours}
        if isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{name} imports from a folder above by dots"
            if node.level == 0 and not (node.module or "").startswith("lastlayer"):
                continue
            base = (node.module or "") if node.level else (node.module or "")[len("lastlayer.") :]
            base = ".".join(part for part in (package if node.level else "", base) if part)
            for alias in node.names:
                full = ".".join(part for part in (base, alias.name) if part)
                found.add(full if full in MODULES or full == "_core" else base)
    return found - {"", name}


def layer(name):
    """The number of a module's layer, from the ground."""
    for number, names in enumerate(LAYERS):
        if any(name == one or name.startswith(f"{one}.") for one in names):
            return number
    pytest.fail(f"{name} is in no layer")


PLACED = sorted(name for name in MODULES if name not in ("", "backends"))


@pytest.mark.parametrize("name", PLACED)
def test_imports_point_downward(name):
    above = {other for other in imported(name) if layer(other) > layer(name)}
    assert above == set()


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imported(name) for name in PLACED}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_one_module_imports_the_compiled_core():
    assert [name for name in PLACED if any(other.startswith("_core") for other in imported(name))] == [
        "backends.core.core"
    ]


def test_imports_of_every_kind_are_seen():
    assert "backends.torch.entry" in imported("dispatch")  # inside a function
    assert "problem" in imported("dispatch")
    assert "_core" in imported("backends.core.core")
