"""One pass over partitions. In: what is computed of a source, and how two results add. Out: that of all rows.

A task opens a partition and computes its result where it runs; other tasks merge a few neighbours each, in an
order that depends on the number of partitions alone. The caller receives the last result, and of each
partition how many rows it had. A task never changes what it was given, since it may be run again.

An error of the data is a result, too: the first partition that has one is read again with the number of the
rows before it, so that the error names its row among all. Until then only earlier partitions are waited for.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from lastlayer.clients import any_size
from lastlayer.errors import LastlayerError, errors_of

from .partition import Division, Opened

__all__ = ["Leaf", "Merge", "over"]

Leaf = Callable[[Any, Opened], Any]  # of parameters and a source
Merge = Callable[[Any, Any, "Read", "Read"], Any]  # of two results and the rows that they are of
Tell = Callable[[int, "int | None", int], None]


class Read(NamedTuple):
    """The amount of data that was read."""

    rows: int
    length: int  # on the first axis of the rows
    n_bytes: int

    def __add__(self, other: Any) -> Read:
        return Read(*(a + b for a, b in zip(self, other, strict=True)))


_NOTHING = Read(0, 0, 0)
_AT_ONCE = 4  # results that a task merges: a task costs as much as a merge of small tallies


class _Result(NamedTuple):
    """The result of a task."""

    value: Any
    read: Read
    error: LastlayerError | None


def over(
    function: str, division: Division, leaf: Leaf, merge: Merge, parameters: Any, tell: Tell | None
) -> Any:
    """The merged results of ``leaf(parameters, source)`` over all partitions."""
    import dask

    send = dask.delayed(_received, pure=False, traverse=False)
    sent = send((function, leaf, parameters))  # a task, from whose worker the others fetch it
    run = dask.delayed(_run, pure=False, traverse=False)
    name = f"{function}-{uuid.uuid4().hex}"  # with a number: of tasks alike, the first rows are read first
    results = [
        run(sent, _NOTHING, one.open, *one.values, dask_key_name=f"{name}-{i:09d}")
        for i, one in enumerate(division.partitions)
    ]
    about = dask.delayed(_about, pure=False, traverse=False)
    notes = [about(one, dask_key_name=f"about-{name}-{i:09d}") for i, one in enumerate(results)]
    join = dask.delayed(_joined, pure=False, traverse=False)
    while len(results) > 1:
        groups = [results[i : i + _AT_ONCE] for i in range(0, len(results), _AT_ONCE)]
        results = [join(merge, *group) if len(group) > 1 else group[0] for group in groups]
    watch = _Watch(division, tell)
    compute = _by_this_process if division.client is None else _by_client
    with any_size():
        found = compute(division.client, results[0], notes, watch)
    if watch.failed is not None:
        raise _located(division, sent, run, watch)
    if found.error is not None:
        raise found.error
    if found.value is None and division.nothing is not None:
        return leaf(parameters, Opened(division.nothing()))
    return found.value


def _located(division: Division, sent: Any, run: Any, watch: _Watch) -> LastlayerError:
    """The error of the first partition that has one, with the number of its row among all."""
    import dask

    place = watch.failed
    assert place is not None
    before = sum((read for read, _ in watch.notes[:place] if read), _NOTHING)
    if before.rows:
        one = division.partitions[place]
        again = run(sent, before, one.open, *one.values)
        with any_size():
            result = (
                dask.compute(again)[0] if division.client is None else division.client.compute(again).result()
            )
        if result.error is not None:
            return cast(LastlayerError, result.error)
    return cast(LastlayerError, watch.notes[place][1])


class _Watch:
    """The facts about the partitions so far."""

    def __init__(self, division: Division, tell: Tell | None) -> None:
        self.notes: list[Any] = [None] * len(division.partitions)  # (`Read`, error) of each that is done
        self.failed: int | None = None  # the first that has an error
        self._rows, self._tell, self._sum = division.rows, tell, _NOTHING

    def see(self, place: int, note: tuple[Read, LastlayerError | None]) -> bool:
        """Take note of a partition; whether nothing else has to be waited for, since there is an error."""
        if self.notes[place] is None:
            self.notes[place] = note
            if note[1] is not None:
                self.failed = place if self.failed is None else min(place, self.failed)
            elif self._tell is not None and self.failed is None:
                self._sum += note[0]
                self._tell(self._sum.rows, self._rows, self._sum.n_bytes)
        return self.failed is not None and None not in self.notes[: self.failed]


class _EnoughError(Exception):
    """Raised where nothing else has to be waited for."""


def _by_this_process(_: Any, last: Any, notes: Sequence[Any], watch: _Watch) -> Any:
    """The last result by a scheduler of this process."""
    import dask
    from dask.callbacks import Callback

    places = {one.key: place for place, one in enumerate(notes)}

    def after(key: Any, value: Any, *_: Any) -> None:
        if key in places and watch.see(places[key], value):
            raise _EnoughError

    try:
        with Callback(posttask=after):
            found, *values = dask.compute(last, *notes)
    except _EnoughError:
        return None
    for place, value in enumerate(values):  # of a scheduler that has called nobody
        watch.see(place, value)
    return found


def _by_client(client: Any, last: Any, notes: Sequence[Any], watch: _Watch) -> Any:
    """The last result by a client of `dask.distributed`; tasks are cancelled if they are not needed."""
    from distributed import as_completed

    future, *others = client.compute([last, *notes])
    places = {one.key: place for place, one in enumerate(others)}
    is_done = False
    try:
        for other, value in as_completed(others, loop=client.loop, with_results=True):
            if watch.see(places[other.key], value):
                return None
        found = future.result()
        is_done = True
        return found
    finally:
        if not is_done:
            client.cancel([future, *others])


# --- tasks --------------------------------------------------------------------------------------------------


def _received(value: Any) -> Any:
    return value


def _run(sent: Any, before: Read, open_: Callable[..., Any], *values: Any) -> _Result:
    function, leaf, parameters = sent
    try:
        with errors_of(function, "evaluate", "Tally"):  # of the readers and of the options
            if (found := open_(*values)) is None:
                return _Result(None, _NOTHING, None)
            source = Opened(found, before.rows, before.length)
            value = leaf(parameters, source)
    except LastlayerError as error:
        return _Result(None, _NOTHING, error)
    return _Result(value, Read(source.seen, source.length, source.bytes), None)


def _about(result: _Result) -> tuple[Read, LastlayerError | None]:
    return result.read, result.error


def _joined(merge: Merge, *results: _Result) -> _Result:
    return functools.reduce(functools.partial(_pair, merge), results)


def _pair(merge: Merge, a: _Result, b: _Result) -> _Result:
    error = a.error if a.error is not None else b.error
    if error is not None:
        return _Result(None, _NOTHING, error)
    if a.value is None or b.value is None:
        return b if a.value is None else a
    try:
        return _Result(merge(a.value, b.value, a.read, b.read), a.read + b.read, None)
    except LastlayerError as differ:  # what the partitions say of themselves
        return _Result(None, _NOTHING, differ)
