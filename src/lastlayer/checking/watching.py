"""The observers of `check` during another pass over the scores. In: blocks of rows. Out: findings.

`evaluate` already counts most of what the observers of targets need, so these are filled from its counts. The
observers of scores get rows only as long as more rows can change their findings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lastlayer.blocks import BLOCK_SIZE

from .mistakes import SEVERITIES, Finding, Findings
from .observation import Count, Observer, Rows
from .observers import ConstantScores, InvalidScores, ScoreKind
from .target_observers import DenseTargets, IndexTargets, MeanLoss

__all__ = ["Watch", "loss_counts", "ordered", "target_counts"]

Position = Callable[[int], tuple[int, ...]]


class _Place:
    """The position of rows among all rows, as observers need it of a block."""

    def __init__(self, position: Position, axis: int, offset: int) -> None:
        self._position, self.axis, self.offset = position, axis, offset

    def position(self, i: int) -> tuple[int, ...]:
        return self._position(self.offset + i)

    def entry(self, i: int, j: int) -> tuple[int, ...]:
        position = self.position(i)
        axis = self.axis % (len(position) + 1)
        return (*position[:axis], j, *position[axis:])


class Watch:
    """Watches the scores, and dense targets, of all blocks."""

    def __init__(self, kind: str, axis: int, is_pair: bool) -> None:
        self.kind, self.axis = kind, axis
        self.is_pair = is_pair and kind == "logits"  # pairs (0, logit), whose kind cannot be checked
        self.observers: dict[str, Any] = {}

    def see(self, scores: np.ndarray, dense: Any, position: Position, has_invalid: bool) -> None:
        """Look at a block of rows (n, V); ``has_invalid``: one of them has no softmax.

        ``dense``: dense targets (n, V), or None. ``position(i)``: the index of the block's i-th row.
        """
        if not len(scores):
            return
        if not self.observers:
            self.axis %= len(position(0)) + 1
            self._start(scores, dense)
        step = max(1, BLOCK_SIZE // max(1, scores.shape[1]))
        for start in range(0, len(scores), step):
            active = [o for name, o in self.observers.items() if not self._is_settled(name, o, has_invalid)]
            if not active:
                break
            part = scores[start : start + step].astype(np.float64)
            targets = None if dense is None else np.asarray(dense[start : start + step], np.float64)
            rows = Rows(_Place(position, self.axis, start), part, targets)  # type: ignore[arg-type]
            for observer in active:
                observer.see(rows)
        if not has_invalid:
            sound: InvalidScores = self.observers["invalid"]
            for count in (sound.nan, sound.inf, sound.impossible):
                count.total += len(scores)

    def have_all(self, scores: Any, dense: Any) -> None:
        """These arrays, in their own shape, are all the data: test whether another axis is the class axis."""
        for name, field, array in (("kind", "scores", scores), ("dense", "targets", dense)):
            if name in self.observers and array is not None:
                setattr(self.observers[name], field, array)

    def merge(self, other: Watch, length: int) -> None:
        """Add the state of another for the rows after these; ``length``: of these rows, on the first axis."""
        others = copy.deepcopy(other.observers)
        if not self.observers:
            self.axis = other.axis
        for name, observer in others.items():
            for value in vars(observer).values():
                if isinstance(value, Count):
                    value.move(length, other.axis)
            if name in self.observers:
                self.observers[name].merge(observer)
            else:
                self.observers[name] = observer

    def _start(self, scores: Any, dense: Any) -> None:
        self.observers = {"invalid": InvalidScores(self.kind), "constant": ConstantScores()}
        if not self.is_pair:
            self.observers["kind"] = ScoreKind(self.kind, scores[:0], self.axis)
        if dense is not None:
            observer = DenseTargets(dense[:0], -1)  # rows (n, V), whatever the axis of the whole array
            observer.axis = self.axis
            self.observers["dense"] = observer

    def _is_settled(self, name: str, observer: Any, has_invalid: bool) -> bool:
        """Whether no other row can change the findings; rows without a softmax may come later."""
        if name == "invalid":
            return not has_invalid
        if name == "constant":
            return not observer.same
        if name == "kind":
            no_probabilities = observer.negative or observer.above or observer.sum
            return self.kind == "logits" and bool(
                no_probabilities and (observer.positive or observer.log_sum)
            )
        return False

    def findings(self) -> Iterator[Finding]:
        """The findings of all rows seen."""
        for observer in self.observers.values():
            yield from observer.findings()

    # --- as JSON has it: for checkpoints --------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The state of the observers, as JSON values."""
        return {
            name: {k: _plain(v) for k, v in vars(observer).items() if _is_state(k, v)}
            for name, observer in self.observers.items()
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any], kind: str, axis: int, is_pair: bool) -> Watch:
        """The inverse of `to_dict`."""
        found = cls(kind, axis, is_pair)
        if saved:
            found._start(np.empty((1, 1)), np.empty((1, 1)) if "dense" in saved else None)
        for name, state in saved.items():
            for key, value in state.items():
                setattr(found.observers[name], key, _restored(value))
        return found


def _is_state(key: str, value: Any) -> bool:
    is_value = value is None or isinstance(value, (Count, bool, int, float, np.ndarray))
    return is_value and key not in ("scores", "targets")


def _plain(value: Any) -> Any:
    if isinstance(value, Count):
        number = None if value.value is None else float(value.value)
        return {"count": [value.name, value.n, value.total, list(value.row), list(value.where), number]}
    return {"array": value.tolist()} if isinstance(value, np.ndarray) else value


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.asarray(value["array"], np.float64)
    name, n, total, row, where, number = value["count"]
    found = Count(name)
    found.n, found.total, found.row, found.where, found.value = n, total, tuple(row), tuple(where), number
    return found


# --- observers of targets, filled from counts ---------------------------------------------------------------


def target_counts(
    support: np.ndarray, predicted: np.ndarray, ignored: int, rows: int, ignore_index: int | None,
    are_names: bool,
) -> Observer:  # fmt: skip
    """An observer of index targets, from the counts of each class among targets and predictions."""
    found = IndexTargets(len(support), ignore_index, are_names)
    found.counts, found.ignored, found.outside.total = support, ignored, rows
    found.predicted = set(np.flatnonzero(predicted)[:2].tolist())
    return found


def loss_counts(kind: str, classes: int, n: int, mean: float, error: float, impossible: Count) -> Observer:
    """An observer of the loss, from the mean and standard error of n finite losses."""
    found = MeanLoss(kind, classes, None)
    found.n, found.total = n, mean * n
    found.squares = n * (n * error * error + mean * mean)
    found.impossible = impossible
    return found


def ordered(found: list[Finding]) -> Findings:
    """The findings, most severe first; an error explains a high loss."""
    if any(one.severity == "error" for one in found):
        found = [one for one in found if one.code != "worse-than-uniform"]
    return Findings(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))
