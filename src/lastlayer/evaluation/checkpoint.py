"""The file from which an interrupted evaluation continues. In: the counts so far. Out: a file.

It names its data and options: a file of other data or options is an error.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, NamedTuple

from lastlayer.checking.watching import Watch
from lastlayer.errors import OptionError

from .readers.source import Source
from .tally import Tally
from .writing import write_whole

__all__ = ["Checkpoint", "Progressed"]

SCHEMA = "lastlayer.checkpoint/1"
_EVERY = 5.0  # seconds between checkpoints at least
_SHARE = 0.05  # of the time may be spent on writing them


class Progressed(NamedTuple):
    """The progress of an evaluation."""

    tally: Tally
    watch: Watch
    rows: int
    n_bytes: int


class Checkpoint:
    """A file with a tally and how many rows of the source are in it."""

    def __init__(self, path: str, source: Source, tally: Tally) -> None:
        self.path = path
        self._of = _plain({"source": source.identity(), "options": tally.to_dict()["options"]})
        self._last, self._pause = time.monotonic(), _EVERY

    def read(self, watch: Watch) -> Progressed | None:
        """The counts so far; None without a file. ``watch``: observers of the same options."""
        try:
            with open(self.path, encoding="utf-8") as file:
                saved = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(str(error)) from error
        try:
            state = saved["state"]
            if saved["schema"] != SCHEMA:
                raise self._unreadable(f"its schema is {saved['schema']!r}")
            if saved["digest"] != _digest(state):
                raise self._unreadable("its digest does not fit what it holds")
            self._compare(saved["state"]["of"])
            found = Tally.from_dict(state["tally"])
            seen = Watch.from_dict(state["watch"], watch.kind, watch.axis, watch.is_pair)
            return Progressed(found, seen, int(state["rows"]), int(state["n_bytes"]))
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise self._unreadable(repr(error)) from error

    def _unreadable(self, why: str) -> OptionError:
        return OptionError(
            "evaluate",
            "checkpoint",
            repr(self.path),
            f"a checkpoint ({why})",
            "remove the file to begin again",
        )

    def _compare(self, other: dict[str, Any]) -> None:
        mine, theirs = (dict(_leaves(of)) for of in (self._of, other))
        for name in sorted({*mine, *theirs}):
            if mine.get(name) != theirs.get(name):
                found = f"{self.path!r}, of {name}={theirs.get(name)!r}"
                remedy = "remove the file to begin again"
                raise OptionError("evaluate", "checkpoint", found, f"{name}={mine.get(name)!r}", remedy)

    def is_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._last >= self._pause

    def write(self, done: Progressed) -> None:
        """Replace the file."""
        begun = time.monotonic()
        state = {
            "of": self._of, "rows": done.rows, "n_bytes": done.n_bytes, "watch": done.watch.to_dict(),
            "tally": done.tally.to_dict(),
        }  # fmt: skip
        saved = {"schema": SCHEMA, "digest": _digest(_plain(state)), "state": state}
        write_whole("checkpoint", self.path, json.dumps(saved, sort_keys=True).encode())
        self._last = time.monotonic()
        self._pause = max(_EVERY, (self._last - begun) / _SHARE)


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))


def _digest(state: Any) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _leaves(of: Any, name: str = "") -> Any:
    """The values of nested dicts and lists with their names."""
    if isinstance(of, dict) and of:
        for key, value in of.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(of, list) and of and isinstance(of[0], dict):
        for i, value in enumerate(of):
            yield from _leaves(value, f"{name}[{i}]")
    else:
        yield name, of
