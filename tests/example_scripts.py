"""The scripts in examples/ as modules. In: a name. Out: the module."""

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples"


def example(name):
    """A module of its own for each call."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
