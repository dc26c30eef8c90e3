"""The demonstration: it learns, its numbers agree with the peers', and it notices when they do not."""

import numpy as np
import pytest
from example_scripts import example

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def digits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LASTLAYER_NUM_THREADS", "2")
        module = example("digits")
        patch.setattr(module, "has_torch", lambda: False)
        yield module


def test_a_short_run_agrees_with_every_peer(digits, capsys, tmp_path):
    path = tmp_path / "report.html"
    assert digits.main(["--rows", "2000", "--repeats", "1", "--report", str(path)]) == 0
    out = capsys.readouterr().out
    assert "All numbers agree to five digits." in out
    assert f"The report, with pictures:\n  {path}\n" in out
    text = path.read_text(encoding="utf-8")
    assert '<section id="calibrated"' in text
    assert '<section id="compared"' in text
    assert out.count("lastlayer.cross_entropy ") == 4
    assert out.count("sklearn log_loss") == 2
    assert "before and after calibration" in out
    calibration = out[: out.index("Beside scikit-learn")]
    rows = {
        line.split()[0]: line.split()
        for line in calibration.splitlines()
        if line.startswith(("  log_loss", "  ece"))
    }
    assert float(rows["log_loss"][4]) < float(rows["log_loss"][1])  # the penalty leaves the logits too unsure
    assert float(rows["ece"][2]) < float(rows["ece"][1])
    assert max(map(len, out.splitlines())) <= 100


def test_torch_is_among_the_peers(digits, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(digits, "has_torch", lambda: True)
    logits, y = np.zeros((2, 10), dtype=np.float32), np.array([1, 2])
    assert [peer.run() for peer in digits.losses(logits, y)] == pytest.approx([np.log(10)] * 4)
    assert len(digits.gradients(logits, y)) == 3


def test_training_learns_as_much_as_scikit_learn(digits, capsys):
    data = digits.load()
    model, _ = digits.train(data, 1)
    assert (model.predict(data.x_test) == data.y_test).mean() > 0.95
    ours, theirs = (line.split()[2:] for line in capsys.readouterr().out.splitlines()[1:])
    assert ours[2] == theirs[2]  # the accuracy
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=1e-3)
    assert max(float(ours[1]), float(theirs[1])) <= 1.1e-4


def test_a_wrong_number_is_noticed(digits):
    peers = [digits.Peer("right", lambda: 1.0), digits.Peer("wrong", lambda: 1.001)]
    assert digits.compare("loss", peers, 1.0, 1) is False
    assert digits.compare("loss", peers[:1], 1.0, 1) is True


def test_a_picture_is_eight_lines_of_ink(digits):
    lines = digits.picture(np.repeat([0.0, 1.0], 32))
    assert lines == [" " * 16] * 4 + ["@" * 16] * 4


def test_no_mistakes_is_said(digits, capsys):
    digits.show_mistakes(np.zeros((1, 64)), np.array([3]), np.eye(10)[[3]])
    assert "no mistakes" in capsys.readouterr().out
