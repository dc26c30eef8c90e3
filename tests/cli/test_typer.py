"""The command as an app of Typer, and shell completion."""

from __future__ import annotations

import pytest
from commands import process

import lastlayer as ll


def test_the_app_runs_under_typers_runner(folder, monkeypatch):
    from typer.testing import CliRunner

    from lastlayer.cli.app import app

    monkeypatch.chdir(folder)
    runner = CliRunner()
    for words, shown in (
        (["evaluate", "all.npz"], "400 rows, logits"),
        (["calibrate", "all.npz"], "T = "),
        (["check", "all.npz"], "no findings"),
        (["explain", "1", "-2"], "The prediction is 0."),
        (["backends"], "reference"),
        (["--version"], ll.__version__),
    ):
        found = runner.invoke(app, words)
        assert found.exit_code == 0, found.output
        assert shown in found.output
    assert runner.invoke(app, ["evaluate", "all.npz", "--kind", "x"]).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(folder, shell):
    done = process(folder, env={"_LASTLAYER_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0
    assert "_LASTLAYER_COMPLETE" in done.stdout
    done = process(
        folder, "--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.returncode == 0
    assert "_LASTLAYER_COMPLETE" in done.stdout


def test_completion_knows_commands_options_and_words(folder):
    for words, expected in (("lastlayer ev", "evaluate"), ("lastlayer check --ki", "--kind")):
        done = process(
            folder,
            env={
                "_LASTLAYER_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
        )
        assert done.stdout.split() == [expected]
