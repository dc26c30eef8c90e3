"""The user's data -> a source. In: arrays, tables, batches, paths of files and folders. Out: `Source`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lastlayer.clients import is_dask
from lastlayer.errors import DtypeError, OptionError, named

from .arrays import ArraySource
from .batches import BatchSource
from .columns import Wanted
from .datasets import Files, Table
from .files import ArrayFile, opened_file
from .shards import Shards
from .source import Source
from .tables import TableColumn, TableSource, is_table
from .values import Part, array_of

__all__ = [
    "TABLES",
    "Request",
    "files_of",
    "form_of",
    "opened_targets",
    "paired_targets",
    "source_of",
    "wanted_of",
]

_ARRAYS, TABLES = (".npy", ".npz", ".safetensors"), (".parquet", ".csv")
_SUFFIXES = (*_ARRAYS, *TABLES)
_OF_KIND = {
    "logits": ("logits",),
    "probabilities": ("probabilities", "probs"),
    "log-probabilities": ("log_probabilities", "log-probabilities", "log_probs"),
}
_TARGETS = ("targets", "labels", "label", "y")


class Request(NamedTuple):
    """The user's request."""

    scores: Any
    targets: Any
    label: str | None  # the name of the targets: a column, or an array of the file
    columns: Any  # the names of the scores' columns, or of the array of the file
    axis: int
    binary: bool
    facts: dict[str, Any]  # sample_weight, groups, ...: arrays, or names of columns
    kind: str | None = None  # what the scores are, if that is known
    rest: bool = False  # of a table: all columns but those of the targets and facts are the scores


def source_of(request: Request) -> Source:
    """The source of scores and targets."""
    found = _source_of(request)
    if None not in (found.kind, request.kind) and found.kind != request.kind:
        rule, remedy = f"{found.kind!r}, as the data says", f"pass kind={found.kind!r}"
        raise OptionError("evaluate", "kind", repr(request.kind), rule, remedy)
    return found


def _source_of(request: Request) -> Source:
    scores = request.scores
    if isinstance(scores, (str, os.PathLike)):
        return _of_path(request, os.fspath(scores))
    if is_dask(scores) and hasattr(scores, "columns"):  # where Dask's tasks are not used
        raise DtypeError("evaluate", "scores", "a DataFrame of Dask", "a table in memory", "call compute()")
    if is_table(scores):
        return TableSource(Table(scores), wanted_of(request))
    _refuse_names(request)
    if hasattr(scores, "shape") or (isinstance(scores, (list, tuple)) and request.targets is not None):
        return _of_arrays(request, scores)
    if isinstance(scores, Mapping):
        remedy = "pass [scores] for a single batch"
        raise DtypeError("evaluate", "scores", f"a {type(scores).__name__}", "an iterable of batches", remedy)
    if isinstance(scores, Iterable):
        if request.targets is not None:
            rule = "None: each batch holds its own"
            raise OptionError("evaluate", "targets", "given with an iterable of batches", rule)
        if request.facts:
            rule = "None: batches are dicts that hold it"
            raise OptionError(
                "evaluate", next(iter(request.facts)), "given with an iterable of batches", rule
            )
        return BatchSource(scores, request.axis, request.binary)
    found = f"a {type(scores).__name__}"
    raise DtypeError("evaluate", "scores", found, "an array, a table, an iterable of batches, or a path")


def _refuse_names(request: Request) -> None:
    """Names of columns are for tables and files."""
    if request.columns is not None:
        raise OptionError("evaluate", "columns", repr(request.columns), "None: the scores have no columns")
    if request.label is not None and not isinstance(request.targets, (str, os.PathLike)):
        raise OptionError("evaluate", "label", repr(request.label), "None: the targets have no columns")


def _of_arrays(request: Request, scores: Any) -> ArraySource:
    """Arrays, or what stands for them in files."""
    targets = opened_targets(request)
    if targets is None:
        raise OptionError(
            "evaluate", "targets", "None", "the targets of " + named("scores") + ", or their file"
        )
    fact = next((k for k, v in request.facts.items() if isinstance(v, str)), None)
    if fact is not None:
        rule = "an array: the scores have no columns"
        raise OptionError("evaluate", fact, repr(request.facts[fact]), rule)
    return ArraySource(scores, targets, request.axis, request.binary, request.facts)


def wanted_of(request: Request) -> Wanted:
    """The request for a table."""
    names = {k: v for k, v in request.facts.items() if isinstance(v, str)}
    arrays = {k: array_of(k, v) for k, v in request.facts.items() if not isinstance(v, str)}
    targets = opened_targets(request)
    if targets is not None:
        if isinstance(targets, tuple):
            raise DtypeError("evaluate", "targets", "a tuple", "one array beside a table")
        targets = array_of("targets", targets)
    return Wanted(
        request.kind,
        request.columns,
        request.label,
        targets,
        names,
        arrays,
        request.binary,
        rest=request.rest,
    )


# --- files --------------------------------------------------------------------------------------------------


def _of_path(request: Request, path: str) -> Source:
    paths = files_of("scores", path)
    form = form_of("scores", path, paths)
    if form in TABLES:
        wanted = wanted_of(request)
        return TableSource(Files("scores", paths, form[1:], wanted), wanted)
    if len(paths) == 1:
        return _of_file(request, paths[0])
    return _of_shards(request, paths)


def _of_shards(request: Request, paths: list[str]) -> Source:
    """Several files of arrays; the targets are in them, in as many files, or in one array for all."""
    targets = request.targets
    if targets is None:
        return Shards([_of_file(request, path) for path in paths])
    if (others := paired_targets(targets, paths)) is not None:
        pairs = zip(paths, others, strict=True)
        return Shards([_of_file(request._replace(targets=other), path) for path, other in pairs])
    if isinstance(targets, tuple):
        raise DtypeError("evaluate", "targets", "a tuple", "one array beside several files")
    whole = {"targets": array_of("targets", opened_targets(request))}
    whole |= {k: array_of(k, v) for k, v in request.facts.items() if not isinstance(v, str)}
    parts, start = [], 0
    for path in paths:
        scores = _scores_of(request, path, opened_file("scores", path))
        length = int(scores.shape[0]) if scores.shape else 0
        some = {name: Part(value, start, length) if value.shape else value for name, value in whole.items()}
        facts = {k: some.get(k, v) for k, v in request.facts.items()}
        parts.append(_of_file(request._replace(targets=some["targets"], facts=facts), path))
        start += length
    return Shards(parts, {k: v for k, v in whole.items() if v.shape}, start)


def paired_targets(targets: Any, paths: list[str]) -> list[str] | None:
    """The file of targets of each file of scores; None if they are not in as many files of arrays."""
    if not isinstance(targets, (str, os.PathLike)):
        return None
    others = files_of("targets", os.fspath(targets))
    if len(others) != len(paths) or form_of("targets", os.fspath(targets), others) not in _ARRAYS:
        return None
    _compare_names(paths, others)
    return others


def files_of(argument: str, path: str) -> list[str]:
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


def form_of(argument: str, path: str, paths: list[str]) -> str:
    """The ending that the names of all files have."""
    forms = sorted({os.path.splitext(p)[1].lower() for p in paths})
    if len(forms) > 1:
        raise OptionError("evaluate", argument, f"{path!r} with {' and '.join(forms)}", "files of one form")
    return forms[0]


def _compare_names(paths: list[str], others: list[str]) -> None:
    """Files are paired by their order; the numbers in their names have to agree."""
    for path, other in zip(paths, others, strict=True):
        a, b = (re.findall(r"\d+", os.path.basename(p)) for p in (path, other))
        if [int(n) for n in a] != [int(n) for n in b]:
            rule = f"the file of the targets of {path!r}: both are read in order of their names"
            raise OptionError("evaluate", "targets", repr(other), rule)


# --- arrays of files ----------------------------------------------------------------------------------------


def _of_file(request: Request, path: str) -> ArraySource:
    """Scores of a file of arrays, with targets and facts of it or of their own."""
    file = opened_file("scores", path)
    scores = _scores_of(request, path, file)
    if request.targets is None and "" not in file.arrays:
        request = request._replace(targets=_named("targets", path, file, request.label, _TARGETS))
    facts = {
        k: _named(k, path, file, v, ()) if isinstance(v, str) and "" not in file.arrays else v
        for k, v in request.facts.items()
    }
    source = _of_arrays(request._replace(facts=facts), scores)
    source.kind = file.metadata.get("lastlayer.kind") or _kind_of_name(request, file)
    return source


def _scores_of(request: Request, path: str, file: ArrayFile) -> Any:
    name = request.columns if isinstance(request.columns, str) else None
    if request.columns is not None and name is None:
        raise OptionError("evaluate", "columns", repr(request.columns), "the name of one array of the file")
    return _named("scores", path, file, name, _names(request.kind))


def _names(kind: str | None) -> tuple[str, ...]:
    """The usual names of scores, those of the declared kind first."""
    order = sorted(_OF_KIND, key=lambda other: other != kind)
    return (*(n for n in _OF_KIND[order[0]]), "scores", *(n for k in order[1:] for n in _OF_KIND[k]))


def _kind_of_name(request: Request, file: ArrayFile) -> str | None:
    """The kind by the name of the scores, if it was not given."""
    if request.columns is not None:
        return None
    name = next((n for n in _names(request.kind) if n in file.arrays), None)
    return next((kind for kind, names in _OF_KIND.items() if name in names), None)


def opened_targets(request: Request) -> Any:
    """Targets of their own: an array, or what a file of them holds."""
    targets = request.targets
    if not isinstance(targets, (str, os.PathLike)):
        return targets
    path = os.fspath(targets)
    paths = files_of("targets", path)
    form = form_of("targets", path, paths)
    if form in TABLES:
        return TableColumn("targets", paths, form[1:], request.label)
    if len(paths) > 1:
        rule = "one file for one file of scores"
        raise OptionError("evaluate", "targets", f"{path!r}, {len(paths)} files", rule)
    return _named("targets", paths[0], opened_file("targets", paths[0]), request.label, _TARGETS)


def _named(argument: str, path: str, file: ArrayFile, name: str | None, usual: tuple[str, ...]) -> Any:
    """The array of this name; without one, that of a usual name, or the only one."""
    opened: dict[str, Callable[[], Any]] = file.arrays
    if "" in opened:  # of .npy, which has no names
        return opened[""]()
    if name is not None and name in opened:
        return opened[name]()
    if name is None:
        found = next((n for n in usual if n in opened), None)
        if found is None and len(opened) == 1:
            found = next(iter(opened))
        if found is not None:
            return opened[found]()
    shown = ", ".join(map(repr, list(opened)[:8])) or "none"
    rule = f"an array called {name or usual[0]!r} (it has {shown})"
    raise OptionError("evaluate", argument, repr(path), rule)
