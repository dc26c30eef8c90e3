"""`compare` of two models: its numbers by float64, whatever the split of the rows, and its files."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from evaluations import NAMES

import lastlayer as ll
from lastlayer.evaluation.readers import arrays

N, V = 600, 5
R = np.random.default_rng(1)
A = R.normal(size=(N, V)) * 2
B = 0.7 * A + R.normal(size=(N, V)) * 0.5
Y = (A + R.gumbel(size=A.shape)).argmax(axis=1)
WEIGHT, GROUP, DOCUMENT = R.random(N) * 3, R.integers(0, 3, N), np.arange(N) // 10
Z = 1.959963984540054


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def of_rows(z, y=Y):
    """Loss, Brier score and hit of each row, by their definitions."""
    p, n = softmax(z), np.arange(len(z))
    return -np.log(p[n, y]), ((p - np.eye(V)[y]) ** 2).sum(axis=1), (z.argmax(axis=1) == y).astype(float)


LOSS, BRIER, HIT = (b - a for a, b in zip(of_rows(A), of_rows(B), strict=True))
KL = (softmax(A) * np.log(softmax(A) / softmax(B))).sum(axis=1)


def mean_and_error(x, w, documents=None):
    """The weighted mean and its standard error: of independent rows, or of documents."""
    mean = (w * x).sum() / w.sum()
    if documents is None:
        n = w.sum() ** 2 / (w**2).sum()
        return mean, np.sqrt(n / (n - 1) * (w**2 * (x - mean) ** 2).sum()) / w.sum()
    sums = np.bincount(documents, w * (x - mean))
    return mean, np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / w.sum()


@pytest.mark.parametrize("w", [None, WEIGHT], ids=["", "weights"])
@pytest.mark.parametrize("documents", [None, DOCUMENT], ids=["", "documents"])
def test_means_and_intervals_by_their_definitions(w, documents):
    found = ll.compare(A, B, Y, sample_weight=w, documents=documents)
    u = np.ones(N) if w is None else w
    for estimate, x in (
        (found.log_loss.difference, LOSS),
        (found.brier.difference, BRIER),
        (found.kl, KL),
        (found.log_loss.a, of_rows(A)[0]),
        (found.brier.b, of_rows(B)[1]),
    ):
        mean, error = mean_and_error(x, u, documents)
        expected = [mean, error, mean - Z * error, mean + Z * error]
        assert list(estimate) == pytest.approx(expected, rel=1e-10)
    mean, error = mean_and_error(HIT, u, documents)
    share = (u * np.abs(HIT)).sum() / u.sum()
    n = (share - mean**2) / error**2 if documents is not None else u.sum() ** 2 / (u**2).sum()
    only_b, only_a = n * (share + mean) / 2 + 0.5, n * (share - mean) / 2 + 0.5  # Agresti and Min
    middle = (only_b - only_a) / (n + 2)
    half = Z * np.sqrt(only_b + only_a - (only_b - only_a) ** 2 / (n + 2)) / (n + 2)
    expected = [mean, error, middle - half, middle + half]
    assert list(found.accuracy.difference) == pytest.approx(expected, rel=1e-10)
    assert found.flipped.value == pytest.approx(share, rel=1e-12)


def test_each_model_has_the_numbers_of_evaluate():
    for words in ({}, {"sample_weight": WEIGHT}, {"documents": DOCUMENT}):
        found = ll.compare(A, B, Y, **words)
        for name in ("log_loss", "accuracy", "brier"):
            for model, z in (("a", A), ("b", B)):
                expected = getattr(ll.evaluate(z, Y, **words), name)
                assert list(getattr(getattr(found, name), model)) == pytest.approx(list(expected), rel=1e-12)


def test_flips_and_groups_by_counting():
    found = ll.compare(A, B, Y, groups=GROUP, sample_weight=WEIGHT)
    right_a, right_b = A.argmax(axis=1) == Y, B.argmax(axis=1) == Y
    only = [np.count_nonzero(right_a & ~right_b), np.count_nonzero(right_b & ~right_a)]
    assert list(found.flips) == [
        *only, np.count_nonzero(right_a & right_b), np.count_nonzero(~right_a & ~right_b)
    ]  # fmt: skip
    assert min(only) > 10
    assert list(found.by_group) == [0, 1, 2]
    for key, group in found.by_group.items():
        some = key == GROUP
        alone = ll.compare(A[some], B[some], Y[some], sample_weight=WEIGHT[some])
        assert (group.n, group.only_a, group.only_b) == (alone.n, *alone.flips[:2])
        for name in ("log_loss", "accuracy", "brier"):
            expected = getattr(alone, name).difference
            assert list(getattr(group, name)) == pytest.approx(list(expected), rel=1e-11)
        assert list(group.kl) == pytest.approx(list(alone.kl), rel=1e-11)


def test_quantiles_of_the_divergence_lie_within_their_bounds():
    found = ll.compare(A, B, Y)
    for q, quantile in found.kl_quantiles.items():
        exact = np.quantile(KL, q, method="inverted_cdf")
        assert quantile.low * (1 - 1e-12) <= exact <= quantile.high * (1 + 1e-12)
        assert quantile.low <= quantile.value <= quantile.high <= quantile.low * 1.011
    same = ll.compare(A, A, Y)
    assert (same.kl.value, same.kl_quantiles[0.5].value) == (0.0, 0.0)
    assert (same.mcnemar, same.log_loss.difference.value) == (1.0, 0.0)
    assert 0 < same.accuracy.difference.high < 0.01  # no row of 600 has flipped; that is no proof of 0


def test_impossible_classes():
    p, q = np.array([[0.5, 0.5, 0.0]]), np.array([[0.75, 0.25, 0.0]])
    found = ll.compare(p, q, [0], kind="probabilities")
    assert found.kl.value == pytest.approx(0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(2), rel=1e-14)
    found = ll.compare(p, np.array([[1.0, 0.0, 0.0]]), [0], kind="probabilities")
    assert (found.kl.value, found.kl_quantiles[0.5].high) == (np.inf, np.inf)
    found = ll.compare(np.array([[1.0, 0.0, 0.0]]), p, [0], kind="probabilities")
    assert found.kl.value == pytest.approx(np.log(2), rel=1e-14)


# --- splits, merging, files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [{}, {"kind": "probabilities"}, {"temperature": (1.0, 2.5)}], ids=str)
def test_any_split_gives_the_same_bytes(words):
    a, b = (softmax(A), softmax(B)) if "kind" in words else (A.astype(np.float32), B)
    facts = {"groups": GROUP, "documents": DOCUMENT, "sample_weight": WEIGHT}
    y = np.where(np.arange(N) % 13 == 0, -100, Y)
    whole = ll.PairedTally(V, **words)
    whole.update(a, b, y, **facts)
    r = np.random.default_rng(0)
    for size in (1, 7, 250):
        parts = []
        for start in r.permutation(np.arange(0, N, size)):
            part, rows = ll.PairedTally(V, **words), slice(start, start + size)
            part.update(a[rows], b[rows], y[rows], **{k: v[rows] for k, v in facts.items()})
            parts.append(part)
        assert sum(parts).to_bytes() == whole.to_bytes()
    assert ll.compare(a, b, y, **words, **facts).to_bytes() == whole.to_bytes()


def test_blocks_of_different_sizes_are_read_side_by_side(monkeypatch, tmp_path):
    whole = ll.compare(A, B.astype(np.float32), Y, documents=DOCUMENT)
    np.save(tmp_path / "b.npy", B.astype(np.float32))
    np.save(tmp_path / "y.npy", Y)
    for i in range(4):
        np.save(tmp_path / f"part{i}.npy", A[150 * i : 150 * i + 150])
    told = []
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 37 * V * 8)
    found = ll.compare(
        str(tmp_path / "part*.npy"), tmp_path / "b.npy", tmp_path / "y.npy", documents=DOCUMENT,
        progress=lambda *numbers: told.append(numbers),
    )  # fmt: skip
    assert found.to_bytes() == whole.to_bytes()
    assert told[-1] == (N, N, N * V * 12)
    assert len(told) > 10


def test_saved_and_added():
    found = ll.compare(A, B, Y, groups=GROUP, documents=DOCUMENT)
    assert ll.Comparison.from_bytes(found.to_bytes()) == found
    saved = json.loads(json.dumps(found.to_dict()))
    assert ll.Comparison.from_dict(saved) == found
    halves = [
        ll.compare(A[k], B[k], Y[k], groups=GROUP[k], documents=DOCUMENT[k])
        for k in (slice(0, 99), slice(99, N))
    ]
    assert sum(halves) == halves[1] + halves[0] == found
    assert json.loads(found.to_json()) == found.numbers()
    assert "tally" not in found.numbers()


def test_sources_of_different_forms():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({f"logit:{name}": B[:, k] for k, name in enumerate(NAMES)} | {"label": Y})
    named = table.set_column(V, "label", pa.array([NAMES[k] for k in Y]))
    expected = ll.compare(A, B, Y).numbers() | {"labels": NAMES}
    assert ll.compare(A, named, [NAMES[k] for k in Y], labels=NAMES).numbers() == expected
    back = ll.compare(named, A)  # the targets are those of the table
    assert back.log_loss.difference.value == -ll.compare(A, B, Y).log_loss.difference.value
    assert ll.compare(named, named).n == N


def test_both_models_in_one_table_or_file(tmp_path):
    pa = pytest.importorskip("pyarrow")
    columns = {f"{m}:{k}": z[:, k] for m, z in (("old", A), ("new", B)) for k in range(V)}
    names = [[name for name in columns if name.startswith(m)] for m in ("old", "new")]
    expected = ll.compare(A, B, Y)
    table = pa.table(columns | {"label": Y})
    assert ll.compare(table, table, columns=names[0], columns_b=names[1]) == expected
    np.savez(tmp_path / "both.npz", old=A, new=B, targets=Y)
    path = tmp_path / "both.npz"
    assert ll.compare(path, path, columns="old", columns_b="new") == expected


def test_logits_beside_probabilities_and_before_beside_after_calibration():
    found = ll.compare(A, softmax(B), Y, kind=("logits", "probabilities"))
    assert found.log_loss.difference.value == pytest.approx(LOSS.mean(), rel=1e-12)
    assert found.kind == ("logits", "probabilities")
    found = ll.compare(A, A, Y, temperature=(1.0, 2.0))
    assert found.flips[:2] == (0, 0)
    assert found.log_loss.b.value == ll.evaluate(A, Y, temperature=2.0).log_loss.value


def test_ignored_invalid_and_unknown_rows():
    a, b, y = A.copy(), B.copy(), Y.copy()
    y[:10], a[10, 0], b[11, 0], b[10, 1] = -100, np.nan, np.inf, np.nan
    found = ll.compare(a, b, y)
    assert (found.n, found.ignored, found.invalid_a, found.invalid_b) == (N - 10, 10, 1, 2)
    assert np.isnan(found.log_loss.difference.value)
    assert np.isnan(found.kl.value)
    right_b = B.argmax(axis=1) == Y
    right_b[10:12] = False
    assert found.accuracy.b.value == right_b[10:].mean()
    found = ll.compare(a, b, y, invalid="skip")
    assert found.numbers() == ll.compare(A[12:], B[12:], Y[12:]).numbers() | {
        "ignored": 10, "invalid_a": 1, "invalid_b": 2
    }  # fmt: skip
    y[:10] = 99
    found = ll.compare(A, B, y, unknown="wrong")
    assert (found.n, found.unknown) == (N, 10)
    assert found.log_loss.difference.value == pytest.approx(LOSS[10:].mean(), rel=1e-12)
    assert found.accuracy.difference.value == pytest.approx(HIT[10:].sum() / N, rel=1e-12)


def test_dense_targets_binary_scores_and_rows_of_several_axes():
    q = softmax(R.normal(size=(N, V)))
    found = ll.compare(A, B, q)
    expected = -(q * np.log(softmax(B) / softmax(A))).sum(axis=1).mean()
    assert found.log_loss.difference.value == pytest.approx(expected, rel=1e-11)
    x, hit = A[:, 0], Y == 0
    found = ll.compare(x, 2 * x, hit.astype(int), binary=True)
    expected = (np.logaddexp(0, np.where(hit, -2 * x, 2 * x)) - np.logaddexp(0, np.where(hit, -x, x))).mean()
    assert found.log_loss.difference.value == pytest.approx(expected, rel=1e-11)
    deep = ll.compare(A.reshape(20, 30, V), B.reshape(20, 30, V), Y.reshape(20, 30), documents=np.arange(20))
    assert deep.numbers() == ll.compare(A, B, Y, documents=np.arange(N) // 30).numbers()
    turned = ll.compare(A.T, B.T, Y, axis=0)
    assert turned.numbers() == ll.compare(A, B, Y).numbers()


def test_the_text_has_every_number():
    text = str(ll.compare(A, B, Y, groups=GROUP, documents=DOCUMENT))
    lines = text.splitlines()
    assert lines[0] == "600 rows (0 ignored, 0 invalid in a, 0 in b)"
    loss = ll.compare(A, B, Y, documents=DOCUMENT).log_loss
    d = loss.difference
    assert lines[2].split() == [
        "log_loss", f"{loss.a.value:.6f}", f"{loss.b.value:.6f}", f"{d.value:+.6f}",
        f"[{d.low:+.6f},", f"{d.high:+.6f}]",
    ]  # fmt: skip
    assert (
        lines[-1]
        == "mcnemar takes rows as independent; the intervals, not those of groups, know of documents"
    )
    assert sum(line.startswith("group ") for line in lines) == 3
    assert max(map(len, lines)) <= 88


def test_ctrl_c_has_the_rows_so_far(monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 37 * V * 8)
    y = np.where(np.arange(N) == 5, -100, Y)

    def stop(rows, total, n_bytes):
        assert total == N
        if rows > 100:
            raise KeyboardInterrupt

    with pytest.raises(ll.ComparisonInterrupted) as caught:
        ll.compare(A, B, y, progress=stop)
    stopped = caught.value
    n = stopped.tally.n + stopped.tally.ignored
    assert n == 3 * 37
    assert isinstance(stopped, KeyboardInterrupt)
    assert str(stopped) == f"interrupted after {n} rows"
    assert ll.Comparison.of(stopped.tally) == ll.compare(A[:n], B[:n], y[:n])
    assert pickle.loads(pickle.dumps(stopped)).tally.to_bytes() == stopped.tally.to_bytes()
