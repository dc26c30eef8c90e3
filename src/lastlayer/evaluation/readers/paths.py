"""What a user names -> a source. In: arrays, tables, batches, paths of files and folders. Out: `Source`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lastlayer.errors import DtypeError, OptionError

from .arrays import ArraySource
from .batches import BatchSource
from .files import arrays_of, opened_file
from .source import Block, Source
from .tables import TableSource, is_table

__all__ = ["Request", "source_of"]

_SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet", ".csv")


class Request(NamedTuple):
    """What a user asked for."""

    scores: Any
    targets: Any
    label: str | None  # the name of the targets: a column, or an array of the file
    columns: Any  # the names of the scores' columns, or of the array of the file
    axis: int
    binary: bool
    facts: dict[str, Any]  # sample_weight, groups, ...: arrays, or names of columns


def source_of(request: Request) -> Source:
    """The source of scores and targets."""
    scores = request.scores
    if isinstance(scores, (str, os.PathLike)):
        return _of_path(request, os.fspath(scores))
    if is_table(scores):
        return TableSource.of_table(scores, request.columns, request.label, request.facts)
    if hasattr(scores, "shape") or (isinstance(scores, (list, tuple)) and request.targets is not None):
        return _of_array(request, scores)
    if isinstance(scores, Iterable):
        if request.targets is not None:
            rule = "None: each batch holds its own"
            raise OptionError("evaluate", "targets", "given with an iterable of batches", rule)
        return BatchSource(scores, request.axis, request.binary)
    found = f"a {type(scores).__name__}"
    raise DtypeError("evaluate", "scores", found, "an array, a table, an iterable of batches, or a path")


def _of_array(request: Request, scores: Any, name: str = "") -> ArraySource:
    targets = request.targets
    if targets is None:
        raise OptionError("evaluate", "targets", "None", "the targets of scores, or their file")
    if isinstance(targets, (str, os.PathLike)):
        targets = _array_of_file("targets", os.fspath(targets), request.label, "targets")
    facts = {k: v for k, v in request.facts.items() if not isinstance(v, str)}
    if len(facts) < len(request.facts):
        named = next(k for k, v in request.facts.items() if isinstance(v, str))
        raise OptionError(
            "evaluate", named, repr(request.facts[named]), "an array: the scores have no columns"
        )
    return ArraySource(scores, targets, request.axis, request.binary, facts, name)


def _of_path(request: Request, path: str) -> Source:
    paths = _files("scores", path)
    forms = {os.path.splitext(p)[1].lower() for p in paths}
    if len(forms) > 1:
        raise OptionError("evaluate", "scores", repr(path), f"files of one form, not {sorted(forms)}")
    form = forms.pop()
    if form in (".parquet", ".csv"):
        return TableSource.of_files(paths, form[1:], request.columns, request.label, request.facts)
    if len(paths) == 1:
        return _of_file(request, paths[0], form)
    return _Shards([_of_file(request._replace(targets=_shard(request, p)), p, form) for p in paths])


def _files(argument: str, path: str) -> list[str]:
    """The files of a path, a folder or a pattern, in order of their names."""
    if os.path.isdir(path):
        found = sorted(e.path for e in os.scandir(path) if e.name.lower().endswith(_SUFFIXES))
    elif os.path.exists(path):
        found = [path]
    else:
        found = sorted(glob.glob(path))
    if not found:
        rule = f"a file, folder or pattern of {', '.join(_SUFFIXES)}"
        raise OptionError("evaluate", argument, repr(path), rule)
    wrong = next((p for p in found if not p.lower().endswith(_SUFFIXES)), None)
    if wrong is not None:
        raise OptionError("evaluate", argument, repr(wrong), f"one of {', '.join(_SUFFIXES)}")
    return found


def _shard(request: Request, path: str) -> Any:
    """The targets of one file among several: in the file, or in one of the same name in another folder."""
    if request.targets is None:
        return None
    if isinstance(request.targets, (str, os.PathLike)) and os.path.isdir(request.targets):
        return os.path.join(os.fspath(request.targets), os.path.basename(path))
    rule = "a folder of files with the same names as the scores'"
    raise OptionError("evaluate", "targets", "given for several files", rule)


def _of_file(request: Request, path: str, form: str) -> Source:
    if form == ".npy":
        return _of_array(request, opened_file("scores", path), path)
    arrays, metadata = arrays_of("scores", path)
    name = request.columns if isinstance(request.columns, str) else None
    scores = _named("scores", path, arrays, name, ("logits", "scores", "probabilities", "log_probabilities"))
    if request.targets is None:
        labels = _named("targets", path, arrays, request.label, ("targets", "labels", "label", "y"))
        request = request._replace(targets=labels)
    facts = {k: arrays[v] if isinstance(v, str) and v in arrays else v for k, v in request.facts.items()}
    source = _of_array(request._replace(facts=facts), scores, path)
    source.kind = metadata.get("lastlayer.kind")
    return source


def _array_of_file(argument: str, path: str, name: str | None, usual: str) -> Any:
    """The one array that a file of targets holds."""
    form = os.path.splitext(path)[1].lower()
    if not os.path.exists(path):
        raise OptionError("evaluate", argument, repr(path), "a file that exists")
    if form == ".npy":
        return opened_file(argument, path)
    if form in (".npz", ".safetensors"):
        return _named(argument, path, arrays_of(argument, path)[0], name, (usual, "labels", "label", "y"))
    raise OptionError("evaluate", argument, repr(path), "a .npy, .npz or .safetensors file")


def _named(argument: str, path: str, arrays: dict[str, Any], name: str | None, usual: tuple[str, ...]) -> Any:
    """The array of this name; without one, that of a usual name, or the only one."""
    if name is not None and name in arrays:
        return arrays[name]
    if name is None:
        found = [arrays[n] for n in usual if n in arrays] or (
            list(arrays.values()) if len(arrays) == 1 else []
        )
        if found:
            return found[0]
    shown = ", ".join(map(repr, list(arrays)[:8]))
    raise OptionError(
        "evaluate", argument, repr(path), f"an array called {name or usual[0]!r} (it has {shown})"
    )


class _Shards:
    """Several sources, one after another."""

    def __init__(self, parts: list[Source]) -> None:
        self.parts, first = parts, parts[0]
        self.classes, self.kind, self.labels = first.classes, first.kind, first.labels
        for part in parts[1:]:
            if (part.classes, part.kind) != (self.classes, self.kind):
                found = f"of {part.classes} classes and {self.classes}, kind {part.kind!r} and {self.kind!r}"
                raise OptionError("evaluate", "scores", found, "files of the same classes and kind")
        self.rows = sum(p.rows or 0 for p in parts)
        self.n_bytes = sum(p.n_bytes or 0 for p in parts)

    def identity(self) -> list[Any]:
        """Those of the parts."""
        return [part.identity() for part in self.parts]

    def blocks(self, start: int) -> Iterator[Block]:
        """The blocks of each part."""
        before = 0
        for part in self.parts:
            rows = part.rows or 0
            if start < before + rows:
                for block in part.blocks(max(0, start - before)):
                    yield block._replace(first=block.first + before)
            before += rows
