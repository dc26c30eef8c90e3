"""Wrong top-k targets, and the known text that each raises."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

X = np.zeros((2, 4), np.float32)
INDICES, P = np.array([[1, 3], [0, 2]]), np.array([[0.5, 0.25], [0.5, 0.25]])
NAN = float("nan")


def ce(*targets, x=X, **options):
    return lambda: ll.cross_entropy(x, targets, **options)


# name: (call, error, text after "cross_entropy: ")
WRONG = {
    "out of range": (
        ce(np.array([[1, 3], [0, 7]]), P),
        ll.TargetError,
        "targets[0][1, 1] is 7; expected a class in [0, 4) or ignore_index=-100",
    ),
    "minus one": (
        ce(np.array([[1, -1], [0, 2]]), P),
        ll.TargetError,
        "targets[0][0, 1] is -1; expected a class in [0, 4) or ignore_index=-100; "
        "to leave such entries out pass ignore_index=-1",
    ),
    "nothing is ignored": (
        ce(np.array([[1, -100], [0, 2]]), P, ignore_index=None),
        ll.TargetError,
        "targets[0][0, 1] is -100; expected a class in [0, 4)",
    ),
    "swapped": (
        ce(P, INDICES),
        ll.DtypeError,
        "targets[0] is of dtype float64; expected integers as class indices; use targets[0].astype(np.int64)",
    ),
    "names": (
        ce([["a", "b"], ["c", "d"]], P),
        ll.DtypeError,
        "targets[0] is of dtype <U1; expected integers as class indices",
    ),
    "no rows": (
        ce(INDICES[0], P[0]),
        ll.ShapeError,
        "targets[0] is of shape (2,); expected (2, K), K classes for each row",
    ),
    "of one row": (
        ce(INDICES, P, x=X[0]),
        ll.ShapeError,
        "targets[0] is of shape (2, 2); expected (K,), K classes for each row",
    ),
    "other rows": (
        ce(INDICES, P, x=np.zeros((5, 3, 4))),
        ll.ShapeError,
        "targets[0] is of shape (2, 2); expected (5, 3, K), K classes for each row",
    ),
    "one probability": (
        ce(INDICES, P[:, :1]),
        ll.ShapeError,
        "targets[1] is of shape (2, 1); expected (2, 2), a probability for each index in targets[0]",
    ),
    "complex": (
        ce(INDICES, P + 1j),
        ll.DtypeError,
        "targets[1] is of dtype complex128; expected real numbers",
    ),
    "negative": (
        ce(INDICES, np.array([[0.5, 0.5], [-0.5, -1]])),
        ll.OptionError,
        "targets[1][1, 0] is -0.5; expected a finite probability, 0 or more",
    ),
    "log-probabilities": (
        ce(INDICES, np.log(P)),
        ll.OptionError,
        f"targets[1][0, 0] is {np.log(0.5)}; expected a finite probability, 0 or more; log-probabilities? "
        "pass np.exp(targets[1]), or of a tensor targets[1].exp()",
    ),
    "not a number": (
        ce(np.array([[1, -100], [0, 2]]), np.array([[0.5, NAN], [0.5, NAN]])),
        ll.OptionError,
        "targets[1][1, 1] is nan; expected a finite probability, 0 or more",
    ),
    "infinite": (
        ce(INDICES, np.array([[0.5, np.inf], [0.5, 0.5]])),
        ll.OptionError,
        "targets[1][0, 1] is inf; expected a finite probability, 0 or more",
    ),
    "rest of other rows": (
        ce(INDICES, P, [0.1, 0.2, 0.3]),
        ll.ShapeError,
        "targets[2] is of shape (3,); expected (2,), one number for each row",
    ),
    "negative rest": (
        ce(INDICES, P, [0.1, -0.25]),
        ll.OptionError,
        "targets[2][1] is -0.25; expected a finite number, 0 or more",
    ),
    "infinite rest": (
        ce(INDICES, P, np.inf),
        ll.OptionError,
        "targets[2] is inf; expected a finite number, 0 or more",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls(name):
    call, error, text = WRONG[name]
    with raises(error, f"cross_entropy: {text}"):
        call()


def test_positions_are_those_of_the_caller():
    """Also where the targets are shifted first."""
    x, w = np.zeros((2, 3, 4)), np.zeros((5, 4))
    indices = np.zeros((2, 3, 2), int)
    indices[1, 2, 1] = 9
    with raises(
        ll.TargetError,
        "linear_cross_entropy: targets[0][1, 2, 1] is 9; expected a class in [0, 5) or ignore_index=-100",
    ):
        ll.linear_cross_entropy(x, w, (indices, np.ones((2, 3, 2))), shift=1)
    p = np.zeros((2, 3, 2))
    p[0, 1, 1] = -1
    with raises(
        ll.OptionError,
        "linear_cross_entropy: targets[1][0, 1, 1] is -1.0; expected a finite probability, 0 or more",
    ):
        ll.linear_cross_entropy(x, w, (indices * 0, p), shift=1)


@pytest.mark.parametrize("function", [ll.nll_loss, ll.log_loss])
def test_functions_without_logits_take_none(function):
    with raises(
        ll.DtypeError,
        f"{function.__name__}: targets is a tuple; expected class indices or probabilities of every class; "
        "those of a few are for cross_entropy",
    ):
        function(X, (INDICES, P))
