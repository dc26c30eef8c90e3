"""`check` names the usual mistakes, in these words, and says nothing about ordinary data."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from assertions import raises

from lastlayer.arrays import BFLOAT16
from lastlayer.checking.check import check
from lastlayer.checking.mistakes import MISTAKES, Finding, Findings
from lastlayer.errors import OptionError

nan, inf = np.nan, np.inf
NAMES = ["ant", "bee", "cat"]

# A classifier that is right about eight rows, and what it predicts.
TARGETS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
LOGITS = np.array(
    [
        [2.1, 0.3, -1.0],
        [-0.2, 1.9, 0.4],
        [0.1, -0.7, 1.2],
        [1.5, 1.1, 0.2],
        [0.3, 2.4, -0.6],
        [-1.1, 0.2, 0.9],
        [3.0, -0.5, 0.7],
        [0.6, 1.3, -2.0],
    ]
)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
SOFT = 0.9 * np.eye(3)[TARGETS] + 0.1 / 3


def put(array: np.ndarray, *entries: tuple[object, float]) -> np.ndarray:
    array = array.copy()
    for index, value in entries:
        array[index] = value
    return array


P, L = {"kind": "probabilities"}, {"kind": "log-probabilities"}
AXIS = (
    "; expected probabilities that sum to 1 along axis 1. Divide each row by its sum, or make them with "
    "softmax(logits)."
)

# (scores, targets, options, what is found: code, severity, where, message)
CASES: dict[str, tuple[object, object, dict[str, object], list[tuple[str, str, object, str]]]] = {
    "probabilities as logits": (
        PROBABILITIES,
        TARGETS,
        {},
        [
            (
                "probabilities-as-logits",
                "warning",
                None,
                "every row lies in [0, 1] and sums to 1: probabilities where logits belong (softmax applied "
                "twice?). Pass the scores from before the softmax, or use log_loss.",
            )
        ],
    ),
    "log-probabilities as logits": (
        np.log(PROBABILITIES),
        TARGETS,
        {},
        [
            (
                "log-probabilities-as-logits",
                "note",
                None,
                "every row is the logarithm of probabilities that sum to 1: log-probabilities where logits "
                "belong. Harmless, the results are the same; nll_loss says what is meant and spares the "
                "work.",
            )
        ],
    ),
    "log-probabilities as probabilities": (
        np.log(PROBABILITIES),
        TARGETS,
        P,
        [
            (
                "log-probabilities-as-probabilities",
                "error",
                None,
                "every row is the logarithm of probabilities that sum to 1: log-probabilities where "
                "probabilities belong. Use nll_loss, or pass exp(scores).",
            )
        ],
    ),
    "probabilities as log-probabilities": (
        PROBABILITIES,
        TARGETS,
        L,
        [
            (
                "probabilities-as-log-probabilities",
                "error",
                None,
                "every row lies in [0, 1] and sums to 1: probabilities where log-probabilities belong. Use "
                "log_loss, or pass log(scores).",
            )
        ],
    ),
    "no distribution": (
        [[0.1, 0.3, 0.7]],
        [2],
        P,
        [("rows-not-summing-to-one", "error", (0,), "row 0 sums to 1.1" + AXIS)],
    ),
    "no distribution, some rows": (
        put(PROBABILITIES, (3, [0.5, 0.3, 0.1]), (6, 0.5)),
        None,
        P,
        [
            (
                "rows-not-summing-to-one",
                "error",
                (3,),
                "2 of 8 rows are no distributions: row 3 sums to 0.9" + AXIS,
            )
        ],
    ),
    "one row without an axis of rows": (
        [0.1, 0.3, 0.7],
        None,
        P,
        [("rows-not-summing-to-one", "error", (), "the row sums to 1.1" + AXIS.replace("1. D", "0. D"))],
    ),
    "negative and above one": (
        [[0.2, 0.8], [-0.5, 1.5]],
        None,
        P,
        [
            (
                "negative-probabilities",
                "error",
                (1, 0),
                "negative entries in 1 of 2 rows, first scores[1, 0] = -0.5; expected probabilities in [0, "
                "1]. Are these logits? Use cross_entropy, or pass softmax(scores).",
            ),
            (
                "probabilities-above-one",
                "error",
                (1, 1),
                "entries above 1 in 1 of 2 rows, first scores[1, 1] = 1.5; expected probabilities in [0, 1]. "
                "Are these logits? Use cross_entropy, or pass softmax(scores).",
            ),
        ],
    ),
    "percentages": (
        [[20.0, 80.0], [50.0, 50.0]],
        None,
        P,
        [
            (
                "probabilities-above-one",
                "error",
                (0, 0),
                "entries above 1 in 2 of 2 rows, first scores[0, 0] = 20; expected probabilities in [0, 1]. "
                "Are these percentages? Pass scores / 100.",
            ),
            (
                "rows-not-summing-to-one",
                "error",
                (0,),
                "2 of 2 rows are no distributions: row 0 sums to 100" + AXIS,
            ),
        ],
    ),
    "logits as log-probabilities": (
        [[1.0, 1.1, 2.5]],
        None,
        L,
        [
            (
                "positive-log-probabilities",
                "error",
                (0, 0),
                "entries above 0 in the only row, first scores[0, 0] = 1; a log-probability is never above "
                "0. Are these logits? Use cross_entropy, or pass log_softmax(scores).",
            ),
            (
                "rows-not-log-normalised",
                "error",
                (0,),
                "row 0 has logsumexp 2.88508; expected 0 along axis 1, that of log-probabilities. Pass "
                "log_softmax(scores), or use cross_entropy for logits.",
            ),
        ],
    ),
    "NaN, inf and an impossible row": (
        put(LOGITS, ((2, 1), nan), ((4, 0), inf), (5, -inf), ((6, 2), nan)),
        None,
        {},
        [
            (
                "nan-scores",
                "error",
                (2, 1),
                "NaN in 2 of 8 rows, first at scores[2, 1]; the results of such rows are NaN. Look for a "
                "division by zero or an overflow before the last layer.",
            ),
            (
                "inf-scores",
                "error",
                (4, 0),
                "+inf in 1 of 8 rows, first at scores[4, 0]; softmax and loss of such rows are NaN. Look for"
                " an overflow before the last layer (float16?).",
            ),
            (
                "impossible-rows",
                "error",
                (5,),
                "every score is -inf in 1 of 8 rows, first in row 5; softmax and loss of such rows are NaN. "
                "Leave a class possible, or mask the row with where=.",
            ),
        ],
    ),
    "an impossible class as target": (
        put(LOGITS, ((3, 0), -inf)),
        TARGETS,
        {},
        [
            (
                "impossible-target",
                "warning",
                (3,),
                "the target has the score -inf in 1 of 8 rows, first in row 3; the loss of such rows is "
                "+inf. Do not forbid classes that occur, or leave such rows out.",
            )
        ],
    ),
    "a target of probability 0": (
        [[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]],
        [1, 0, 1],
        P,
        [
            (
                "impossible-target",
                "warning",
                (0,),
                "the target has probability 0 in 1 of 3 rows, first in row 0; the loss of such rows is +inf."
                " Do not forbid classes that occur, or leave such rows out.",
            )
        ],
    ),
    "constant scores": (
        np.zeros((8, 3)),
        TARGETS,
        {},
        [
            (
                "constant-scores",
                "warning",
                None,
                "all 8 rows hold the same scores: the predictions do not depend on the input. Look for an "
                "untrained or disconnected last layer, or for an input repeated by broadcasting.",
            )
        ],
    ),
    "one class predicted": (
        np.tile(LOGITS * [0.1, 0.1, 0.1], (8, 1)) + np.array([1, 0, 0]),
        np.tile([0, 0, 0, 0, 0, 0, 1, 2], 8),
        {},
        [
            (
                "one-class-predicted",
                "note",
                None,
                "class 0 has the highest score in every row, while the targets hold 3 classes. Check the "
                "bias, or balance the classes.",
            ),
        ],
    ),
    "worse than uniform": (
        -np.tile(LOGITS, (8, 1)),
        np.tile(TARGETS, 8),
        {},
        [
            (
                "worse-than-uniform",
                "warning",
                None,
                "the mean loss over 64 rows is 2.886, above log(3) = 1.099: worse than the same score for "
                "every class. Check the order of the classes, the labels and the sign of the scores.",
            )
        ],
    ),
    "worse than uniform, one row": (
        [3.2, 0.2, 0.9],
        2,
        {},
        [
            (
                "worse-than-uniform",
                "note",
                None,
                "the loss is 2.44, above log(3) = 1.099: worse than the same score for every class. Check "
                "the order of the classes, the labels and the sign of the scores.",
            )
        ],
    ),
    "labels that start at 1": (
        LOGITS,
        TARGETS + 1,
        {},
        [
            (
                "labels-start-at-1",
                "error",
                (2,),
                "labels start at 1: the targets lie in [1, 3]; expected [0, 3). Pass targets - 1.",
            )
        ],
    ),
    "out of range": (
        LOGITS,
        put(TARGETS, (5, 7), (6, 9)),
        {},
        [
            (
                "target-out-of-range",
                "error",
                (5,),
                "targets[5] is 7; expected a class in [0, 3) or ignore_index=-100 (2 of 8 rows out of "
                "range). The scores need 10 classes, or axis= is not the class axis.",
            )
        ],
    ),
    "another mark for rows to leave out": (
        LOGITS,
        put(TARGETS, (1, -1)),
        {},
        [
            (
                "target-out-of-range",
                "error",
                (1,),
                "targets[1] is -1; expected a class in [0, 3) or ignore_index=-100 (1 of 8 rows out of "
                "range). If it marks rows to leave out, pass ignore_index=-1.",
            )
        ],
    ),
    "nothing may be left out": (
        LOGITS,
        put(TARGETS, (1, -7)),
        {"ignore_index": None},
        [
            (
                "target-out-of-range",
                "error",
                (1,),
                "targets[1] is -7; expected a class in [0, 3) (1 of 8 rows out of range). Mark rows to leave"
                " out with ignore_index.",
            )
        ],
    ),
    "everything left out": (
        LOGITS,
        np.full(8, -100),
        {},
        [
            (
                "all-ignored",
                "warning",
                None,
                "all 8 targets are ignore_index=-100: the loss is 0 and so is the gradient. Check the mask "
                "of the targets, or pass the ignore_index that is meant.",
            )
        ],
    ),
    "a class that never occurs": (
        np.tile(LOGITS[TARGETS < 2], (8, 1)),
        np.tile(TARGETS[TARGETS < 2], 8),
        {},
        [
            (
                "class-never-occurs",
                "warning",
                None,
                "class 2 never occurs among 48 targets. Check the labels, or the number of classes.",
            )
        ],
    ),
    "class 0 never occurs": (
        np.tile(LOGITS[TARGETS > 0], (8, 1)),
        np.tile(TARGETS[TARGETS > 0], 8),
        {},
        [
            (
                "class-never-occurs",
                "warning",
                None,
                "class 0 never occurs among 40 targets. Do the labels start at 1? Check the labels, or the "
                "number of classes.",
            )
        ],
    ),
    "classes that never occur, perhaps by chance": (
        np.pad(LOGITS, ((0, 0), (0, 2)), constant_values=-9),
        TARGETS,
        {"ignore_index": 0},
        [],
    ),
    "several classes that never occur": (
        np.tile(np.pad(LOGITS, ((0, 0), (0, 2)), constant_values=-9), (2, 1)),
        np.tile(TARGETS, 2),
        {},
        [
            (
                "class-never-occurs",
                "note",
                None,
                "2 of 5 classes never occur among 16 targets (the first is class 3). Check the labels, or "
                "the number of classes.",
            )
        ],
    ),
    "the classes on another axis": (
        LOGITS.T,
        TARGETS,
        {},
        [
            (
                "class-axis",
                "error",
                None,
                "targets of shape (8,) do not fit scores of shape (3, 8) with the classes on axis 1, but "
                "they do with the classes along axis 0: pass axis=0.",
            )
        ],
    ),
    "images": (
        np.zeros((2, 5, 3, 4)),
        np.zeros((2, 3, 4), int),
        {},
        [
            (
                "class-axis",
                "error",
                None,
                "targets of shape (2, 3, 4) do not fit scores of shape (2, 5, 3, 4) with the classes on axis"
                " 3, but they do with the classes along axis 1: pass axis=1.",
            ),
            (
                "constant-scores",
                "warning",
                None,
                "all 30 rows hold the same scores: the predictions do not depend on the input. Look for an "
                "untrained or disconnected last layer, or for an input repeated by broadcasting.",
            ),
        ],
    ),
    "probabilities on another axis": (
        PROBABILITIES.T,
        None,
        P,
        [
            (
                "class-axis",
                "error",
                (0,),
                "scores do not sum to 1 along axis 1, but they do along axis 0: pass axis=0.",
            )
        ],
    ),
    "soft targets on another axis": (
        np.pad(LOGITS, ((0, 0), (0, 5)), constant_values=-3),
        np.pad(SOFT, ((0, 0), (0, 5))).T,
        {},
        [
            (
                "class-axis",
                "error",
                (0,),
                "targets do not sum to 1 along axis 1, but they do along axis 0: pass axis=0.",
            )
        ],
    ),
    "float targets": (
        LOGITS,
        TARGETS.astype(float),
        {},
        [
            (
                "float-targets",
                "error",
                None,
                "targets have shape (8,), one per row, and dtype float64; expected integer class indices. "
                "Pass targets.astype(np.int64), of a tensor targets.long(), or dense targets of shape "
                "(8, 3).",
            )
        ],
    ),
    "bool targets": (
        LOGITS,
        TARGETS == 1,
        {},
        [
            (
                "bool-targets",
                "error",
                None,
                "targets are bool; expected class indices. Pass targets.astype(np.int64): False is class 0.",
            )
        ],
    ),
    "swapped, of one shape": (
        np.eye(3)[TARGETS],
        np.full((8, 3), 1 / 3),
        {"kind": "probabilities"},
        [
            (
                "one-hot-scores",
                "warning",
                None,
                "every row of scores is one-hot and the targets are not: are the two exchanged? Pass "
                "scores first, then targets.",
            ),
            (
                "impossible-target",
                "warning",
                (0,),
                "the target has probability 0 in 8 of 8 rows, first in row 0; the loss of such rows is "
                "+inf. Do not forbid classes that occur, or leave such rows out.",
            ),
        ],
    ),
    "one-hot targets": (
        LOGITS,
        np.eye(3)[TARGETS],
        {},
        [
            (
                "one-hot-targets",
                "note",
                None,
                "the targets are one-hot rows: the result is right (but a mean with class weights divides by "
                "the rows, not by their weights); class indices, targets.argmax(1), give it faster, in less "
                "memory, and with ignore_index.",
            )
        ],
    ),
    "integers that are not one-hot": (
        LOGITS,
        put(np.eye(3, dtype=int)[TARGETS], ((4, 2), 2)),
        {},
        [
            (
                "targets-not-one-hot",
                "error",
                (4,),
                "row 4 has integer targets that sum to 3; integers of the scores' shape are one-hot rows. "
                "Were class indices meant? They have one axis fewer.",
            )
        ],
    ),
    "soft targets that do not sum to 1": (
        LOGITS,
        put(SOFT, (4, 0.5), (7, 0.1)),
        {},
        [
            (
                "soft-targets-sum",
                "warning",
                (4,),
                "2 of 8 rows are no distributions: row 4 has targets that sum to 1.5; expected "
                "distributions. Divide each row by its sum, or use sample_weight for weights.",
            )
        ],
    ),
    "negative and NaN targets": (
        LOGITS,
        put(SOFT, (1, [-1, 1, 1]), ((3, 2), nan)),
        {},
        [
            (
                "nan-targets",
                "error",
                (3, 2),
                "NaN or inf in the targets of 1 of 8 rows, first at targets[3, 2]; the loss of such rows is "
                "NaN.",
            ),
            (
                "negative-targets",
                "error",
                (1, 0),
                "negative targets in 1 of 8 rows, first targets[1, 0] = -1; expected probabilities. Are "
                "these logits? Pass softmax(targets).",
            ),
        ],
    ),
    "a column of targets": (
        LOGITS,
        TARGETS[:, None],
        {},
        [
            (
                "target-shape",
                "error",
                None,
                "targets have shape (8, 1); expected class indices of shape (8,) or dense targets of shape "
                "(8, 3). They have one axis too many: pass targets.squeeze(1).",
            )
        ],
    ),
    "one-hot over other classes": (
        LOGITS,
        np.eye(4)[TARGETS],
        {},
        [
            (
                "target-shape",
                "error",
                None,
                "targets have shape (8, 4); expected class indices of shape (8,) or dense targets of shape "
                "(8, 3). These are dense over 4 classes.",
            )
        ],
    ),
    "flat targets": (
        LOGITS.reshape(2, 4, 3),
        TARGETS,
        {},
        [
            (
                "target-shape",
                "error",
                None,
                "targets have shape (8,); expected class indices of shape (2, 4) or dense targets of shape "
                "(2, 4, 3). Pass targets.reshape((2, 4)).",
            )
        ],
    ),
    "exchanged": (
        TARGETS,
        LOGITS,
        {},
        [
            (
                "arguments-exchanged",
                "error",
                None,
                "scores are integers of shape (8,) and targets have shape (8, 3): are the two exchanged? "
                "Pass check(scores, targets).",
            )
        ],
    ),
    "words": (
        ["a", "b"],
        None,
        {},
        [("scores-dtype", "error", None, "scores have dtype <U1; expected real numbers.")],
    ),
    "a missing class": (
        LOGITS[:2],
        [1, np.nan],
        {},
        [
            (
                "float-targets",
                "error",
                None,
                "targets have shape (2,), one per row, and dtype float64; expected integer class indices. "
                "Pass targets.astype(np.int64), of a tensor targets.long(), or dense targets of shape "
                "(2, 3). They hold NaN: write -100 in its place before.",
            )
        ],
    ),
    "top-k targets of no class": (
        LOGITS[:2],
        (np.array([[0, 3], [1, 2]]), np.full((2, 2), 0.5)),
        {},
        [
            (
                "listed-targets",
                "error",
                None,
                "targets[0][0, 1] is 3; expected a class in [0, 3) or ignore_index=-100.",
            )
        ],
    ),
    "names of classes": (
        LOGITS[:2],
        ["cat", "dog"],
        {},
        [
            (
                "targets-dtype",
                "error",
                None,
                "targets have dtype <U3; expected class indices or dense targets. Number the labels with "
                "pd.Categorical(targets).codes, and pass ignore_index=-1.",
            )
        ],
    ),
    "ragged": (
        [[1, 2], [3]],
        None,
        {},
        [
            (
                "scores-array",
                "error",
                None,
                "scores are no array (rows of unequal length?); expected numbers.",
            )
        ],
    ),
    "ragged targets": (
        LOGITS[:2],
        [[1, 2], [3]],
        {},
        [
            (
                "targets-array",
                "error",
                None,
                "targets are no array (rows of unequal length?); expected numbers.",
            )
        ],
    ),
    "a number": (
        3.0,
        None,
        {},
        [
            (
                "no-class-axis",
                "error",
                None,
                "scores are the single number 3.0; expected at least one axis, of classes.",
            )
        ],
    ),
    "no rows": (
        np.zeros((0, 3)),
        [],
        {},
        [("no-rows", "note", None, "scores have shape (0, 3): no rows; a mean over nothing is 0.")],
    ),
    "a name that no class has": (
        np.eye(3) * 3,
        ["ant", "fox", "dog"],
        {"labels": NAMES},
        [
            (
                "unknown-labels",
                "error",
                (1,),
                "targets[1] is 'fox', which is none of labels ('ant', 'bee', 'cat'), as in 2 of 3 rows. "
                "Correct the targets, or the names of the classes.",
            )
        ],
    ),
    "no name at all": (
        np.eye(3) * 3,
        [None, float("nan"), ""],
        {"labels": NAMES},
        [
            (
                "all-ignored",
                "warning",
                None,
                "all 3 targets are missing: the loss is 0 and so is the gradient. Check the column of the "
                "labels.",
            )
        ],
    ),
    "no classes": (
        np.zeros((3, 0)),
        None,
        {},
        [("no-classes", "error", None, "scores have shape (3, 0): no classes along axis 1.")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_mistake_is_named_in_these_words(name: str) -> None:
    scores, targets, options, expected = CASES[name]
    found = check(scores, targets, **options)  # type: ignore[arg-type]
    assert [(f.code, f.severity, f.where, f.message) for f in found] == expected


def test_names_are_read_by_blocks() -> None:
    """The names of a file that is larger than memory are never all in memory."""

    class Names:
        shape, dtype, read = (70_000,), np.dtype(object), 0

        def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
            part = box[0]
            assert part.stop - part.start <= 65_536 // 3
            self.read += part.stop - part.start
            return np.array([*NAMES, "fox"], dtype=object)[np.arange(part.start, part.stop) % 4]

    names = Names()
    found = check(np.random.default_rng(0).normal(size=(70_000, 3)), names, labels=NAMES)
    assert names.read == 70_000
    assert [one.code for one in found] == ["unknown-labels"]
    assert "targets[3] is 'fox'" in found[0].message
    assert "17500 of 70000 rows" in found[0].message


def test_names_are_one_for_each_row() -> None:
    (found,) = check(np.eye(3) * 3, [["ant"] * 3] * 3, labels=NAMES)
    assert (found.code, found.where) == ("target-shape", None)
    assert check(np.eye(3) * 3, np.array(NAMES)[:, None], labels=NAMES) == ()


def test_names_are_targets_with_labels() -> None:
    scores = np.eye(3) * 3
    missing = [["ant", "bee", nan], ["ant", None, "cat"], [["ant"], ["bee"], [""]]]
    for given in (NAMES, np.array(NAMES), *missing):
        assert check(scores, given, labels=NAMES) == ()
    assert check(scores, ["bee", "cat", "ant"], labels=NAMES) == check(scores, [1, 2, 0]) != ()
    with raises(OptionError, "check: labels is of 3 names; expected 2 names, one for each class"):
        check(np.eye(2), ["ant", "bee"], labels=NAMES)
    with raises(OptionError, "check: labels is with 'ant' twice; expected different names"):
        check(np.eye(2), ["ant", "bee"], labels=["ant", "ant"])


def test_every_mistake_has_a_case() -> None:
    seen = {code for *_, expected in CASES.values() for code, *_ in expected}
    assert seen == set(MISTAKES)


def test_the_findings_read_well() -> None:
    none = check(LOGITS, TARGETS)
    assert none == ()
    assert not none
    assert str(none) == repr(none) == "no findings"
    found = check(put(-LOGITS, ((1, 2), nan)), np.eye(3)[TARGETS])
    assert found.codes == ("nan-scores", "one-hot-targets")
    assert str(found) == repr(found) == "\n".join(map(str, found))
    assert str(found[0]).startswith("error: NaN in 1 of 8 rows")
    assert str(found[0]).endswith("[nan-scores]")
    assert isinstance(found, Findings)
    assert isinstance(found[0], Finding)
    with pytest.raises(AttributeError):
        found[0].code = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kind": "logit"},
            "check: kind is 'logit'; expected one of 'logits', 'probabilities', 'log-probabilities'",
        ),
        ({"axis": 2}, "check: axis is 2; expected an integer in [-2, 2)"),
        ({"axis": -3}, "check: axis is -3; expected an integer in [-2, 2)"),
        ({"axis": (0, 1)}, "check: axis is (0, 1); expected an integer: scores have one class axis here"),
        ({"ignore_index": 1.5}, "check: ignore_index is 1.5; expected an integer or None"),
        ({"ignore_index": True}, "check: ignore_index is True; expected an integer or None"),
    ],
)
def test_only_its_own_arguments_raise(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(LOGITS, TARGETS, **options)  # type: ignore[arg-type]
    assert str(caught.value) == message


def ordinary(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores of some model that has learnt something, its targets, and the class axis."""
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 5))
    classes = int(rng.choice([2, 3, 10, 257]))
    rows = tuple(int(n) for n in rng.integers(1, [200, 20, 6][max(0, ndim - 2)], size=ndim - 1))
    axis = int(rng.integers(ndim))
    targets = rng.integers(0, classes, size=rows)
    logits = rng.normal(size=(*rows, classes)) * rng.choice([0.5, 1, 3]) + rng.normal() * 5
    right = rng.random(rows) < (0.9 if targets.size > 50 else 1)
    best = np.where(right, targets, rng.integers(0, classes, size=rows))
    np.put_along_axis(logits, best[..., None], logits.max(axis=-1, keepdims=True) + rng.uniform(0.5, 2), -1)
    return np.moveaxis(logits, -1, axis), targets, axis


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", ">f4"])
def test_no_false_alarm_on_ordinary_data(dtype: str) -> None:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    for seed in range(60):
        logits, targets, axis = ordinary(seed)
        soft = 0.9 * np.moveaxis(np.eye(logits.shape[axis])[targets], -1, axis) + 0.1 / logits.shape[axis]
        shifted = logits - logits.max(axis=axis, keepdims=True)
        probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=axis, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        for kind, scores in [
            ("logits", logits),
            ("probabilities", probabilities),
            ("log-probabilities", logs),
        ]:
            if kind == "log-probabilities" and dtype not in ("float32", "float64", ">f4"):
                continue  # 16 bits do not hold a logarithm well enough to tell
            scores = scores.astype(dtype)
            for wanted in (None, targets, soft.astype(np.float32)):
                found = check(scores, wanted, kind=kind, axis=axis)
                alarms = {f.code for f in found if f.severity != "note"}
                if dtype == "float16":
                    alarms -= {"impossible-target"}  # true: a small probability underflows in float16
                assert not alarms, (seed, kind, scores.shape, axis, found)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
def test_every_integer_dtype_of_targets(dtype: type) -> None:
    assert not check(LOGITS, TARGETS.astype(dtype))
    (found,) = check(LOGITS, put(TARGETS.astype(dtype), (3, 100)))
    assert (found.code, found.where) == ("target-out-of-range", (3,))
    assert "targets[3] is 100" in found.message
    if np.dtype(dtype).kind == "u":
        (found,) = check(LOGITS, put(TARGETS.astype(dtype), (3, np.iinfo(dtype).max)))
        assert f"targets[3] is {np.iinfo(dtype).max};" in found.message


def test_positions_beyond_the_first_block() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 7, 300, 100)).astype(np.float32)
    scores[2, 4, 123, 45] = nan
    (found,) = check(scores, axis=1)
    assert found.where == (2, 4, 123, 45)
    assert "NaN in 1 of 90000 rows, first at scores[2, 4, 123, 45]" in found.message
    targets = np.zeros((3, 300, 100), np.int64)
    targets[1, 299, 99] = 7
    (found,) = (f for f in check(scores, targets, axis=1) if f.code == "target-out-of-range")
    assert found.where == (1, 299, 99)
    assert "targets[1, 299, 99] is 7" in found.message


def test_inputs_are_only_read() -> None:
    scores, targets = LOGITS.copy(), SOFT.copy()
    scores.flags.writeable = targets.flags.writeable = False
    assert not check(scores, targets)
    assert not check(np.ascontiguousarray(scores)[::-1], targets[::-1])


def test_memory_is_a_few_blocks() -> None:
    scores = np.random.default_rng(0).normal(size=(20_000, 200)).astype(np.float32)
    targets = scores.argmax(axis=1)
    check(scores[:1000], targets[:1000])
    tracemalloc.start()
    check(scores, targets)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 2**20, f"{peak / 2**20:.1f} MiB for scores of {scores.nbytes / 2**20:.0f} MiB"


@pytest.mark.parametrize("library", ["torch", "array_api_strict", "dask.array"])
def test_arrays_of_other_libraries(library: str) -> None:
    xp = pytest.importorskip(library)
    scores, targets = xp.asarray(LOGITS), xp.asarray(TARGETS)
    assert not check(scores, targets)
    assert not check(scores, xp.asarray(SOFT))
    assert check(xp.asarray(PROBABILITIES), targets).codes == ("probabilities-as-logits",)
    assert check(scores, xp.asarray(TARGETS + 1)).codes == ("labels-start-at-1",)
    assert check(xp.asarray(LOGITS.T.copy()), targets).codes == ("class-axis",)
    (found,) = check(xp.asarray(put(LOGITS, ((2, 1), nan))), targets)
    assert found.where == (2, 1)
    if library == "torch":
        assert not check(scores.bfloat16().requires_grad_(), targets)
        assert check(xp.asarray(PROBABILITIES).bfloat16(), targets).codes == ("probabilities-as-logits",)


def test_the_bits_of_bfloat16():
    """As `cross_entropy` takes them, without a package that knows the dtype."""
    scores = np.ones((3, 2), np.float32)
    bits = (scores.view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)
    assert check(bits, [0, 1, 1]).codes == check(scores, [0, 1, 1]).codes == ("constant-scores",)


def test_top_k_targets():
    """As `cross_entropy` takes them; what it would refuse is said in its words."""
    indices, p = np.array([[0, 2], [1, -100]]), np.array([[0.5, 0.25], [1.0, 0.0]])
    scores = np.array([[2.0, 1.0, 0.1], [0.3, 2.0, 1.0]])
    assert not check(scores, (indices, p))
    assert not check(scores.T, (indices, p, [0.25, 0.0]), axis=0)
    for targets, text in (
        ((indices + 1, p), "targets[0][0, 1] is 3; expected a class in [0, 3) or ignore_index=-100."),
        ((indices, p - 0.5), "targets[1][0, 1] is -0.25; expected a finite probability, 0 or more."),
        ((indices[0], p), "targets[0] is of shape (2,); expected (2, K), K classes for each row."),
    ):
        (found,) = check(scores, targets)
        assert (found.code, found.severity, found.message) == ("listed-targets", "error", text)
