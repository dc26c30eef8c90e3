"""Arguments that do not fit what the scores are: names of columns beside arrays, batches that are none."""

from __future__ import annotations

import numpy as np
from assertions import raises

import lastlayer as ll


def test_names_of_columns_beside_arrays():
    z, y = np.eye(3), np.arange(3)
    for words, text in (
        ({"columns": "z"}, "columns is 'z'; expected None: the scores have no columns"),
        ({"label": "y"}, "label is 'y'; expected None: the targets have no columns"),
    ):
        with raises(ll.OptionError, f"evaluate: {text}"):
            ll.evaluate(z, y, **words)
        with raises(ll.OptionError, f"evaluate: {text}"):
            ll.evaluate([(z, y)], **words)


def test_a_batch_that_is_none_is_not_the_end():
    batch, rule = (np.eye(3), np.arange(3)), "expected (scores, targets), or a dict with these names"
    for batches, number in (([None, batch], 0), ([batch, None, batch], 1), ([batch, None], 1)):
        with raises(ll.DtypeError, f"evaluate: batch[{number}] is a NoneType; {rule}"):
            ll.evaluate(iter(batches))
