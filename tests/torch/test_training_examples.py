"""The training runs: they learn, both losses give the same curve, and another curve is noticed."""

import json
from pathlib import Path

import numpy as np
import pytest
from example_scripts import example

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("tokenizers")
import lastlayer.torch  # noqa: E402

ROOT = Path(__file__).parents[2]


def few_tokens(train):
    return train.tokens(context=8, length=20_000, vocabulary=400)


@pytest.fixture(scope="module")
def compare():
    return example("compare_training")


@pytest.fixture(scope="module")
def train():
    return example("train")


def test_a_short_run_agrees_and_shows_time_and_memory(train, compare, tmp_path, capsys, monkeypatch):
    def here(task, loss, steps, threads):  # a process for each, as the script has it, takes seconds to start
        return train.train(task, train.LOSSES[loss](), steps, str)

    monkeypatch.setattr(compare, "run", here)
    monkeypatch.setitem(train.TASKS, "tokens", (lambda: few_tokens(train), 60))
    record = tmp_path / "curves.json"
    assert compare.main(["--steps", "10", "--record", str(record)]) == 0
    out = capsys.readouterr().out
    assert "All curves agree within rounding." in out
    assert out.count("apart by") == 3
    assert out.count("Without the logits a step takes ") == 1
    for name in (" torch.nn.CrossEntropyLoss ", " lastlayer.torch.CrossEntropyLoss "):
        rows = [line for line in out.splitlines() if name in line]
        assert len(rows) == 3
        assert all(row.count(" ms") == 2 and row.count(" MiB") == 2 for row in rows)
    assert max(map(len, out.splitlines())) <= 100
    for curves in json.loads(record.read_text()).values():
        assert len(curves["torch"]) == 10
        np.testing.assert_allclose(curves["lastlayer"], curves["torch"], rtol=2e-6)


def test_a_run_in_a_process_of_its_own(compare):
    result = compare.run("digits", "lastlayer", 2)
    assert len(result["losses"]) == 2
    assert 0 <= result["growth"] < result["peak"]  # 0 where this process, from which it inherits, is larger


def test_the_recorded_curves_agree(compare):
    recorded = json.loads((ROOT / "docs" / "worked" / "training.json").read_text())
    assert set(recorded) == set(compare.PICTURED)
    for curves in recorded.values():
        assert len(curves["torch"]) >= 300
        assert np.mean(curves["torch"][-20:]) < np.mean(curves["torch"][:20]) * 0.7  # it learns
        assert compare.difference(curves["torch"], curves["lastlayer"])[0] < 1e-5


def test_a_training_run_learns(train, monkeypatch):
    said = []
    criterion = train.LOSSES["lastlayer"]()
    result = train.train("digits", criterion, 200, said.append)
    assert len(result["losses"]) == 200
    assert result["accuracy"] > 0.85
    assert result["logits"] == [64, 10]
    assert result["peak"] > 50 * 2**20
    assert len(said) == 6


def test_the_curve_of_another_loss_is_noticed(train, compare, capsys):
    runs = {
        "torch": train.train("digits", torch.nn.CrossEntropyLoss(), 3, str),
        "lastlayer": train.train("digits", train.LOSSES["lastlayer"](temperature=0.9), 3, str),
    }
    assert compare.show("digits", runs) is False
    assert "more than rounding" in capsys.readouterr().out
    runs["lastlayer"] = train.train("digits", train.LOSSES["lastlayer"](), 3, str)
    assert compare.show("digits", runs) is True


def test_the_largest_difference_and_its_step(compare):
    assert compare.difference([1.0, 2.0, 4.0], [1.0, 2.5, 3.9]) == (0.25, 2)
    assert compare.difference([1.0, 2.0], [1.0, float("nan")]) == (float("inf"), 2)
    with pytest.raises(ValueError, match="zip"):
        compare.difference([1.0, 2.0], [1.0])


def test_the_characters_are_the_same_on_every_run(train):
    text = train.standard_library(20_000)
    assert len(text) == 20_000
    assert text == train.standard_library(30_000)[:20_000]
    task = train.characters(context=8, length=20_000)
    x, y = task.batch()
    assert x.shape == (16, 8)
    assert task.model(x).shape == (128, len(set(text)))
    assert y.reshape(16, 8)[:, :-1].equal(x[:, 1:])


def test_the_tokens_are_the_same_on_every_run(train):
    task, again = few_tokens(train), few_tokens(train)
    assert all(a.equal(b) for a, b in zip(task.held_out, again.held_out, strict=True))
    assert task.large
    x, y = task.batch()
    assert x.shape == (16, 8)
    assert task.model(x).shape == (128, 400)
    assert y.reshape(16, 8)[:, :-1].equal(x[:, 1:])
    assert 256 < x.max() < 400  # some of them are of several bytes


def test_a_run_without_logits_learns(train, monkeypatch, made):
    backward = lastlayer.torch.deferred_losses.Computation.parts
    steps = []
    monkeypatch.setattr(
        lastlayer.torch.deferred_losses.Computation, "parts", lambda *args: steps.append(1) or backward(*args)
    )
    monkeypatch.setattr(lastlayer.torch.head, "_MIN_ROWS", 128)  # rows, which are as few as the tokens
    monkeypatch.setattr(lastlayer.torch.head, "is_small", lambda *_: False)  # and so are the logits
    monkeypatch.setitem(train.TASKS, "tokens", (lambda: few_tokens(train), 60))
    result = train.train("tokens", train.LOSSES["lastlayer"](), 40, str)
    assert np.mean(result["losses"][-5:]) < np.mean(result["losses"][:5]) - 0.5
    assert result["logits"] == [128, 400]
    assert len(steps) >= 40
    assert not made


def test_the_transformer_does_not_look_ahead(train):
    torch.manual_seed(0)
    model = train.Transformer(classes=7, context=6, width=16)
    x = torch.randint(7, (1, 6))
    before = model(x)
    x[0, 4] = (x[0, 4] + 1) % 7
    after = model(x)
    assert torch.allclose(before[:4], after[:4], atol=1e-5)
    assert not torch.allclose(before[4:], after[4:], atol=1e-5)


def test_a_run_for_people_to_read(train, capsys):
    threads = torch.get_num_threads()
    try:
        assert train.main(["digits", "--steps", "2"]) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert "step     2" in out
    assert "% right" in out
