"""The file from which an interrupted fit continues. In: parameters and steps so far. Out: a file.

The file identifies its problem; using it for another problem is an error. A continued fit takes other steps
than one that was never interrupted, but ends at the same tolerance.
"""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from typing import Any, NamedTuple

import numpy as np

from lastlayer.errors import OptionError, errors_of
from lastlayer.evaluation.writing import write_whole

from .rows import Floats

__all__ = ["EVERY", "Checkpoint", "Saved"]

EVERY = 5.0  # seconds: the minimum between two writes
_SCHEMA = "lastlayer.fit/1"
_SHARE = 0.05  # the largest fraction of the time that is spent on writing
_REMEDY = "remove the file to begin again"


class Saved(NamedTuple):
    """The contents of a file."""

    parameters: Floats  # (K, D + 1)
    steps: int


class Checkpoint:
    """A file of a fit. ``of``: all that the minimum depends on, as JSON values; ``shape``: (K, D + 1)."""

    def __init__(self, function: str, path: Any, of: dict[str, Any], shape: tuple[int, int]) -> None:
        self.path, self._function, self._shape = os.fspath(path), function, shape
        self._of: dict[str, Any] = json.loads(json.dumps(of))
        self._last, self._pause = time.monotonic(), EVERY

    def read(self) -> Saved | None:
        """The parameters from which to continue; None without a file."""
        try:
            with open(self.path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                head = json.loads(str(file["head"][()]))
                parameters = file["parameters"]
            schema, of, steps = head["schema"], head["of"], head["steps"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise self._error(repr(self.path), f"a checkpoint of a fit ({error})") from error
        if schema != _SCHEMA or not isinstance(of, dict) or not isinstance(steps, int):
            raise self._error(f"{self.path!r} of schema {schema!r}", repr(_SCHEMA))
        for name in sorted({*self._of, *of}):
            if of.get(name) != self._of.get(name):
                found = f"{self.path!r}, of {name}={of.get(name)!r}"
                raise self._error(found, f"{name}={self._of.get(name)!r}")
        if parameters.shape != self._shape or parameters.dtype != np.float64:
            raise self._error(repr(self.path), f"a checkpoint of parameters {self._shape} in float64")
        if not np.isfinite(parameters).all():
            raise self._error(repr(self.path), "a checkpoint of finite parameters")
        return Saved(parameters, steps)

    def note(self, saved: Saved) -> None:
        """Write, if enough time has passed since the last write."""
        if time.monotonic() - self._last >= self._pause:
            begun = time.monotonic()
            self.write(saved)
            self._last = time.monotonic()
            self._pause = max(EVERY, (self._last - begun) / _SHARE)

    def write(self, saved: Saved) -> None:
        """Replace the file."""
        head = {"schema": _SCHEMA, "of": self._of, "steps": saved.steps}
        data = io.BytesIO()
        np.savez(data, head=np.array(json.dumps(head)), parameters=saved.parameters)
        with errors_of(self._function):
            write_whole("checkpoint", self.path, [data.getbuffer()])

    def _error(self, found: str, rule: str) -> OptionError:
        return OptionError(self._function, "checkpoint", found, rule, _REMEDY)
