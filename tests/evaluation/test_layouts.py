"""A tally does not depend on how scores lie in memory."""

import numpy as np
import pytest

import lastlayer as ll


@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
@pytest.mark.parametrize("dense", [False, True])
def test_the_same_bytes_in_any_layout(kind, dense):
    r = np.random.default_rng(0)
    p, q = (ll.softmax(r.normal(size=(200, 40))) for _ in range(2))
    scores = p if kind == "probabilities" else np.log(p)
    targets = q if dense else r.integers(0, 40, 200)
    found = set()
    for x, y in [(scores, targets), (np.asfortranarray(scores), np.asfortranarray(targets))]:
        tally = ll.Tally(40, kind=kind)
        tally.update(x, y)
        found.add(tally.to_bytes())
    assert len(found) == 1
