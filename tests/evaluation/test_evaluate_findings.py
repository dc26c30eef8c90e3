"""`evaluate` finds what `check` finds, in its one pass over blocks of rows."""

import numpy as np
import pytest
from evaluations import N, V

import lastlayer as ll

pytestmark = pytest.mark.usefixtures("small_blocks")

MISTAKEN = {
    "sound": lambda z, y: (z, y, "logits"),
    "probabilities": lambda z, y: (ll.softmax(z), y, "logits"),
    "log-probabilities": lambda z, y: (ll.log_softmax(z), y, "logits"),
    "logits": lambda z, y: (z, y, "probabilities"),
    "percent": lambda z, y: (100 * ll.softmax(z), y, "probabilities"),
    "constant": lambda z, y: (np.ones_like(z), y, "logits"),
    "NaN": lambda z, y: (np.where(np.arange(N)[:, None] % 70 == 69, np.nan, z), y, "logits"),
    "inf": lambda z, y: (np.where(np.arange(N)[:, None] == 250, np.inf, z), y, "logits"),
    "impossible rows": lambda z, y: (np.where(np.arange(N)[:, None] == 250, -np.inf, z), y, "logits"),
    "impossible target": lambda z, y: (np.where(np.arange(V) == 3, -np.inf, z), y, "logits"),
    "one class": lambda z, y: (z + 100 * (np.arange(V) == 2), y, "logits"),
    "a class missing": lambda z, y: (z, np.where(y == 4, 0, y), "logits"),
    "all ignored": lambda z, y: (z, 0 * y - 100, "logits"),
    "dense": lambda z, y: (z, np.eye(V)[y], "logits"),
    "soft": lambda z, y: (z, 0.9 * np.eye(V)[y], "logits"),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_findings_are_those_of_check(data, name):
    """In blocks as in one piece, with the same words."""
    z = data[0]
    sound = (z + np.random.default_rng(1).gumbel(size=z.shape)).argmax(axis=1)
    z, y, kind = MISTAKEN[name](z, sound)
    found, expected = ll.evaluate(z, y, kind=kind).findings, ll.check(z, y, kind=kind)
    assert [(f.code, f.severity, f.where) for f in found] == [(f.code, f.severity, f.where) for f in expected]
    assert [f.message for f in found] == [f.message for f in expected]
    assert bool(found) == (name != "sound")
