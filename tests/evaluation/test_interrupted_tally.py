"""Ctrl-C while a tally counts: rows are counted whole or not at all. And copies of tallies."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys

import numpy as np
import pytest
from evaluations import rows

import lastlayer as ll
from lastlayer.evaluation import exact


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C alone there")
def test_an_interrupted_update_counts_all_its_rows(monkeypatch):
    z, y = rows(40)
    groups = np.arange(40) % 3
    expected = ll.Tally(4)
    expected.update(z, y, groups=groups)
    add, calls = exact.Sums.add, []

    def add_and_press(self, *arguments):
        add(self, *arguments)
        calls.append(1)
        if len(calls) == 5:  # of more than twenty
            os.kill(os.getpid(), signal.SIGINT)

    tally = ll.Tally(4)
    monkeypatch.setattr(exact.Sums, "add", add_and_press)
    with pytest.raises(KeyboardInterrupt):
        tally.update(z, y, groups=groups)
    assert len(calls) > 20
    assert tally.to_bytes() == expected.to_bytes()


def test_copies_share_nothing():
    z, y = rows(5)
    tally = ll.Tally(4)
    tally.update(z, y, groups=y)
    before, other = tally.to_bytes(), copy.copy(tally)
    other.update(z, y, groups=y)
    assert (tally.to_bytes(), other.n) == (before, 10)
    stopped = pickle.loads(pickle.dumps(ll.EvaluationInterrupted(tally)))
    assert (stopped.tally.to_bytes(), str(stopped)) == (before, "interrupted after 5 rows")
