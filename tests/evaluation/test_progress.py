"""What `progress=` shows: a bar, or a call for each block, of each pass over the data."""

from __future__ import annotations

import io

import numpy as np
import pytest
from evaluations import N, V, assert_same

import lastlayer as ll


def opened_terminal(monkeypatch):
    """What a bar is written to: it needs rich, and a terminal."""
    pytest.importorskip("rich")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return terminal


@pytest.fixture
def guessed(data):
    """Logits, and labels that they say something of."""
    z, *_ = data
    return z, (z / 3 + np.random.default_rng(1).gumbel(size=z.shape)).argmax(1)


@pytest.mark.usefixtures("small_blocks")
def test_a_bar_in_a_terminal(data, monkeypatch):
    """With rows and bytes a second."""
    terminal = opened_terminal(monkeypatch)
    z, y, expected = data
    assert_same(ll.evaluate(z, y, progress=True), expected)
    shown = terminal.getvalue()
    assert "300 rows, " in shown
    assert "rows/s" in shown
    assert "6.0 kB" in shown  # of 300 rows of 5 float32
    assert "B/s" in shown


@pytest.mark.usefixtures("small_blocks")
def test_progress_of_each_source(data, scores_files, tmp_path):
    """Rows so far, of how many if that is known, and the bytes of the scores."""
    z, y, _ = data
    parts = [(z[:200], y[:200]), (z[200:], y[200:])]
    for scores, targets, total, size in (
        (z, y, N, 4),
        (scores_files[0], y, N, 4),
        (scores_files[1], y, N, 4),
        (parts, None, None, 4),
    ):
        told = []
        ll.evaluate(scores, targets, progress=lambda *given, told=told: told.append(given))
        assert told[-1] == (N, total, N * V * size)
        assert [rows for rows, *_ in told] == sorted({rows for rows, *_ in told})


def test_progress_of_each_pass(guessed):
    z, y = guessed
    told = []
    found = ll.fit_temperature([(z[:100], y[:100]), (z[100:], y[100:])], progress=lambda *a: told.append(a))
    passes = found.steps + 2  # before and after
    assert told == [(100, None, 100 * V * 4), (N, None, N * V * 4)] * passes
    told.clear()
    ll.fit_temperature(z, y, progress=lambda *a: told.append(a))
    assert told == [(N, N, N * V * 4)] * passes


def test_the_bar_counts_passes(guessed, monkeypatch):
    terminal = opened_terminal(monkeypatch)
    found = ll.fit_temperature(*guessed, progress=True)
    assert f"pass {found.steps + 2}, 300 rows, " in terminal.getvalue()
