"""What a fit shows: lines, or a bar in a terminal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from training_cases import made

from lastlayer.sklearn import SoftmaxClassifier
from lastlayer.sklearn.watching import part_done


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_loss_and_gradient_norm(monkeypatch, capsys):
    pytest.importorskip("rich")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    model = SoftmaxClassifier(verbose=2).fit(*made(0, 3000, 30, 5))
    shown = screen.getvalue()
    assert "SoftmaxClassifier" in shown
    assert f"step {model.n_iter_}, loss {model.loss_:.6g}, gradient norm {model.gradient_norm_:.1e}" in shown
    assert capsys.readouterr().out == ""


def test_the_command_draws_it_in_a_terminal(monkeypatch, capsys, tmp_path):
    for needed in ("typer", "rich", "pyarrow"):
        pytest.importorskip(needed)
    from lastlayer.cli.main import main

    x, y = made(1, 3000, 30, 5)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    command = [
        "fit",
        *(str(tmp_path / name) for name in ("x.npy", "y.npy")),
        "--out",
        str(tmp_path / "m.safetensors"),
    ]
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    assert not main(command)
    assert "gradient norm" in screen.getvalue()
    assert "[SoftmaxClassifier] step" not in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [1, 2])
def test_without_a_terminal_a_step_is_a_line(verbose, capsys):
    model = SoftmaxClassifier(verbose=verbose).fit(*made(0, 3000, 30, 5))
    printed, other = capsys.readouterr()
    lines = printed.splitlines()
    assert len(lines) == model.n_iter_ + 1
    norm = f"gradient norm {model.gradient_norm_:.2e}"
    assert lines[-1] == f"[SoftmaxClassifier] step {model.n_iter_}: loss {model.loss_:.8g}, {norm}"
    assert other == ""


def test_the_bar_is_as_long_as_the_norm_has_fallen():
    assert part_done(1.0, 1.0, 1e-4) == 0
    assert part_done(1.0, 1e-2, 1e-4) == pytest.approx(0.5)
    assert part_done(1.0, 1e-5, 1e-4) == 1
    assert part_done(1.0, 2.0, 1e-4) == 0
    assert part_done(1.0, 0.5, 0.0) == 0
