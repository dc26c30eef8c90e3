"""Tallies that were saved: what others made of them is an error that says what is wrong."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from assertions import raises
from evaluations import rows

import lastlayer as ll

V = 4
GONE = object()


@pytest.fixture(scope="module")
def saved():
    z, y = rows(30)
    tally = ll.Tally(V, classwise=True)
    keys = np.arange(30)
    tally.update(z, y, groups=keys % 2, documents=keys % 3, rows=keys, n_bytes=keys, positions=keys)
    weighted = ll.Tally(V, classwise=True)
    weighted.update(z, y, sample_weight=keys / 7)
    return json.loads((tally + weighted).to_bytes())


def changed(saved, path, value):
    found = copy.deepcopy(saved)
    *others, last = path.split(".")
    part = found
    for name in others:
        part = part[int(name) if isinstance(part, list) else name]
    if value is GONE:
        del part[last]
    else:
        part[int(last) if isinstance(part, list) else last] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("n", -1, "'n' is -1"),
        ("n", 2.0, "'n' is 2.0"),
        ("n", 10**400, f"'n' is {10**400}"),
        ("n", 3, "'moments' does not fit 'n'"),
        ("ignored", True, "'ignored' is True"),
        ("moments", GONE, "'moments' is missing"),
        ("moments.parts", [], "'moments' is that of other options"),
        ("moments.parts.0.sums.7", "1", "a place is not one of 2"),
        ("moments.parts.0.sums.0", "-5", "'moments' does not fit 'n'"),
        ("support.size", 10**13, "'support' is that of other options"),
        ("support.counts.0", -3, "the count of place 0 of 4 is -3"),
        ("support.counts.-1", 3, "the count of place -1 of 4 is 3"),
        ("support.counts.4", 3, "the count of place 4 of 4 is 3"),
        ("confusion.counts.0", 10**30, "OverflowError: Python int too large to convert to C long"),
        ("ranks", GONE, "'ranks' is missing"),
        ("ranks.size", 5, "'ranks' is that of other options"),
        ("ranks.counts.0", -3, "the count of place 0 of 4 is -3"),
        ("ranks.counts.4", 1, "the count of place 4 of 4 is 1"),
        ("ranks.sums.4", "1", "a place is not one of 4"),
        ("bins.weight.size", 99, "'bins' is that of other options"),
        ("class_loss", None, "'class_loss' is that of other options"),
        ("groups.columns", 10**9, "'groups' is that of other options"),
        ("groups.keys", [["a", ["1"]]], "the key 'a' is there twice, or its sums are not"),
        ("positions.keys.0.0", 10**12, f"'positions' has the key {10**12}"),
        ("hardest.rows", [["nan", 1, 2, 3]], "'hardest' has the row [1, 2, 3]"),
        ("hardest.rows", [["0x1p3", 1, 2, 3]] * 99, "'hardest' has 99 rows"),
        ("rankings", [], "'rankings' is that of other options"),
        ("rankings.0.dropped", 70, "the scores of a ranking are not in order"),
        ("rankings.0.scores", [[5, 1, 1], [3, 1, 1]], "the scores of a ranking are not in order"),
        ("rankings.0.scores", [[5, -1, 1]], "a weight of a ranking is -1"),
        ("classwise", None, "'classwise' is that of other options"),
        ("unknown_labels", 5, "TypeError: 'int' object is not iterable"),
    ],
)
def test_a_tally_that_was_changed(saved, path, value, why):
    text = f"Tally.from_dict: saved is damaged; expected what Tally.to_dict gave ({why})"
    with raises(ll.OptionError, text):
        ll.Tally.from_dict(changed(saved, path, value))


def test_a_tally_as_it_was_saved(saved):
    assert json.loads(ll.Tally.from_dict(saved).to_bytes()) == saved
    with raises(ll.OptionError, "Tally.from_dict: classes is -1; expected an int of 1 or more"):
        ll.Tally.from_dict(changed(saved, "options.classes", -1))


def test_texts_that_are_no_tally():
    why = "Expecting value: line 1 column 1 (char 0)"
    text = "Tally.from_bytes: text is a bytes; expected what Tally.to_bytes gave"
    with raises(ll.OptionError, f"{text} ({why})"):
        ll.Tally.from_bytes(b"")
    for other in (b"{", b"\xff\xfe", b"[" * 100_000, 5):
        with pytest.raises(ll.OptionError, match=r"expected what Tally\.to_bytes gave"):
            ll.Tally.from_bytes(other)
    with raises(ll.OptionError, "Tally.from_dict: schema is None; expected 'lastlayer.tally/1'"):
        ll.Tally.from_bytes(b"[]")


def test_names_of_every_kind_are_saved():
    z, _ = rows(4)
    for names in (np.arange(4) * 10, np.array(list("abcd")), [b"a", b"b", b"c", b"d"], [0.5, 1, "x", True]):
        tally = ll.Tally(V, labels=names)
        tally.update(z, list(names))
        assert ll.Tally.from_bytes(tally.to_bytes()).to_bytes() == tally.to_bytes()
        assert tally.n == 4
