"""The stub of the extension says what is in the extension: names, parameters, and the types that it knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lastlayer

_core = pytest.importorskip("lastlayer._core", reason="the native core is not built")

STUB = Path(lastlayer.__file__).with_name("_core.pyi")
# Of arrays and containers the extension knows only that they are objects.
KNOWN = {"int", "float", "bool", "str"}


def signatures_of_stub():
    return {node.name: node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.FunctionDef)}


def signatures_of_module():
    found = {}
    for name in dir(_core):
        overloads = getattr(getattr(_core, name), "__nb_signature__", None)
        if overloads is not None:
            assert len(overloads) == 1, f"{name} is overloaded"
            signature, _, defaults = (*overloads[0], None)[:3]
            for position, value in enumerate(defaults or ()):
                signature = signature.replace(f"\\{position}", repr(value))
            found[name] = ast.parse(signature + ": ...").body[0]
    return found


def parameters(node):
    others = [
        *node.args.posonlyargs,
        *node.args.kwonlyargs,
        *filter(None, (node.args.vararg, node.args.kwarg)),
    ]
    assert not others, f"{node.name} has parameters that are not both positional and by keyword"
    return [(a.arg, ast.unparse(a.annotation)) for a in node.args.args]


def test_the_same_names():
    assert sorted(signatures_of_stub()) == sorted(signatures_of_module())
    others = {name for name in dir(_core) if not name.startswith("_")} - set(signatures_of_module())
    assert not others


def test_the_same_parameters_and_results():
    stub = signatures_of_stub()
    for name, node in signatures_of_module().items():
        ours, theirs = parameters(stub[name]), parameters(node)
        assert len(ours) == len(theirs), name
        assert [argument for argument, _ in ours] == [argument for argument, _ in theirs], name
        for (argument, mine), (_, true) in zip(ours, theirs, strict=True):
            assert (mine in KNOWN or true in KNOWN) <= (mine == true), (name, argument, mine, true)
        assert [ast.unparse(a) for a in stub[name].args.defaults] == [
            ast.unparse(a) for a in node.args.defaults
        ], name
        mine, true = ast.unparse(stub[name].returns), ast.unparse(node.returns)
        assert mine == true or mine.startswith(f"{true}["), (name, mine, true)
