"""From features in files to a classifier, its logits and their numbers, which are those of scikit-learn."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from sklearn.linear_model import LogisticRegression
from wines import NAMES, WAYS, table

import lastlayer as ll
from lastlayer.cli.features import training_of
from lastlayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV


@pytest.fixture(scope="module")
def theirs(wine):
    """The probabilities and the accuracy of scikit-learn on the rows that it was not fitted to."""
    x, y = wine
    model = LogisticRegression(C=0.5, tol=1e-10, solver="newton-cholesky").fit(x[:100], y[:100])
    return model.predict_proba(x[100:]), model.score(x[100:], y[100:])


@pytest.mark.parametrize("out", ["scores.parquet", "scores.csv"])
@pytest.mark.parametrize("way", WAYS)
def test_fit_predict_evaluate_as_scikit_learn(run, files, theirs, wine, way, out):
    fit, predict = WAYS[way]
    status, said, err = run("fit", *fit, "--out", "m.safetensors", "--C", 0.5, "--tol", 1e-9)
    assert (status, err) == (0, "")
    assert said.startswith("100 rows, 4 features, 3 classes\n")
    assert said.endswith("wrote m.safetensors\n")
    status, said, err = run("predict", "m.safetensors", *predict, "--out", out)
    assert (status, said, err) == (0, f"78 rows, 3 classes\nwrote {out}\n", "")
    label = predict[predict.index("--label") + 1] if "--label" in predict else "label"
    if way == "parquet, npy":  # indices beside a classifier of names
        found = pq.read_table(out) if out.endswith("parquet") else csv.read_csv(out)
        p = ll.softmax(np.stack([found.column(f"logit:{name}").to_numpy() for name in NAMES], axis=1))
        np.testing.assert_allclose(p, theirs[0], atol=1e-7)
        return
    status, _, err = run("evaluate", out, "--label", label, "--json", "r.json")
    assert (status, err) == (0, "")
    result = json.loads((files / "r.json").read_text())
    assert result["n"] == 78
    assert 0.5 < theirs[1] < 1
    assert result["accuracy"]["value"] == theirs[1]
    nll = -np.log(theirs[0][np.arange(78), wine[1][100:]])
    assert result["log_loss"]["value"] == pytest.approx(nll.mean(), abs=1e-7)


def test_what_is_written(run, files):
    assert run("fit", *WAYS["parquet"][0], "--out", "m.safetensors")[0] == 0
    words = ["test.parquet", "--label", "grape", "--keep", "row", "--out", "s.parquet"]
    assert run("predict", "m.safetensors", *words)[0] == 0
    found, given = pq.read_table("s.parquet"), pq.read_table("test.parquet")
    assert found.column_names == ["grape", "row", "logit:barbera", "logit:barolo", "logit:grignolino"]
    assert found.schema.metadata[b"lastlayer.kind"] == b"logits"
    assert found.column("grape").to_pylist() == given.column("grape").to_pylist()
    assert found.column("row").equals(given.column("row"))
    model = SoftmaxClassifier.load("m.safetensors")
    assert model.feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]
    x = np.load("test-x.npy")
    del model.feature_names_in_
    logits = np.stack([found.column(f"logit:{name}").to_numpy() for name in model.classes_], axis=1)
    assert logits.tobytes() == model.decision_function(x).tobytes()
    assert (files / "s.parquet.part").exists() is False


def test_no_rows(run, files):
    assert run("fit", *WAYS["parquet"][0], "--out", "m.safetensors")[0] == 0
    pq.write_table(pq.read_table("test.parquet").slice(0, 0), "empty.parquet")
    np.save("empty.npy", np.ones((0, 4)))
    for words in (["empty.parquet", "--label", "grape"], ["empty.npy"]):
        status, said, _ = run("predict", "m.safetensors", *words, "--out", "s.parquet")
        assert (status, said) == (0, "0 rows, 3 classes\nwrote s.parquet\n")
        assert pq.read_table("s.parquet").num_rows == 0


def test_categories_and_lists_are_kept_where_the_form_has_them(run, files):
    assert run("fit", *WAYS["parquet"][0], "--out", "m.safetensors")[0] == 0
    given = pq.read_table("test.parquet")
    grape = given.column("grape").combine_chunks()
    lists = pa.array([[1, 2]] * len(grape))
    given = given.set_column(4, "grape", grape.dictionary_encode()).append_column("lists", lists)
    pq.write_table(given, "other.parquet", row_group_size=7)
    words = ["m.safetensors", "other.parquet", "--label", "grape", "--keep"]
    assert run("predict", *words, "lists", "--out", "s.parquet")[0] == 0
    found = pq.read_table("s.parquet")
    assert found.column("lists").to_pylist() == [[1, 2]] * len(grape)
    assert found.column("grape").to_pylist() == grape.to_pylist()
    assert run("predict", *words, "row", "--out", "s.csv")[0] == 0
    assert csv.read_csv("s.csv").column("grape").to_pylist() == grape.to_pylist()
    for name in ("s.parquet", "s.csv"):
        assert run("evaluate", name, "--label", "grape")[0] == 0
    status, said, err = run("predict", *words, "lists", "--out", "lists.csv")
    assert (status, said) == (2, "")
    assert err.startswith(
        "lastlayer: predict: --out is 'lists.csv'; expected a form that has these columns ("
    )
    assert not list(files.glob("lists.csv*"))


def test_columns_are_chosen_by_name(run, files):
    """In a table with its columns in another order, and without labels."""
    assert run("fit", *WAYS["parquet"][0], "--out", "m.safetensors")[0] == 0
    given = pq.read_table("test.parquet")
    pq.write_table(given.select(["x3", "row", "x1", "x0", "x2"]), "other.parquet")
    assert run("predict", "m.safetensors", "other.parquet", "--out", "a.parquet")[0] == 0
    assert run("predict", "m.safetensors", "test.parquet", "--out", "b.parquet")[0] == 0
    a, b = pq.read_table("a.parquet"), pq.read_table("b.parquet")
    assert a.column_names == [f"logit:{name}" for name in sorted(NAMES)]
    assert a.equals(b)


def test_features_are_all_other_columns(run, files):
    pq.write_table(pq.read_table("train.parquet").drop(["row"]), "plain.parquet")
    csv.write_csv(pq.read_table("plain.parquet"), "plain.csv")
    for name in ("plain.parquet", "plain.csv"):
        assert run("fit", name, "--label", "grape", "--out", "m.safetensors")[0] == 0
        model = SoftmaxClassifier.load("m.safetensors")
        assert model.feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]


def test_the_options_are_those_of_the_estimator(run, files, wine):
    x, y = wine
    options = [
        "--C",
        "inf",
        "--tol",
        "0.01",
        "--max-iter",
        "50",
        "--class-weight",
        "balanced",
        "--no-intercept",
    ]
    options += ["--label-smoothing", "0.1", "--solver", "newton-cg", "--seed", "4", "--max-memory", "64"]
    assert run("fit", *WAYS["npy"][0], *options, "--out", "m.safetensors")[0] == 0
    found = SoftmaxClassifier.load("m.safetensors")
    expected = SoftmaxClassifier(
        np.inf, tol=0.01, max_iter=50, class_weight="balanced", fit_intercept=False, label_smoothing=0.1,
        solver="newton-cg", random_state=4, max_memory=64 * 2**20,
    )  # fmt: skip
    assert found.get_params() == expected.get_params()
    np.testing.assert_array_equal(found.coef_, expected.fit(x[:100], y[:100]).coef_)


@pytest.mark.parametrize(("words", "cs"), [([], 10), (["--Cs", "3"], 3), (["--Cs", "0.1,1"], [0.1, 1.0])])
def test_cross_validation(run, files, wine, words, cs):
    x, y = wine
    status, said, _ = run("fit", *WAYS["npy"][0], "--cv", 3, *words, "--out", "m.safetensors")
    expected = SoftmaxClassifierCV(cs, 3, random_state=0).fit(x[:100], y[:100])
    assert status == 0
    assert f"C = {expected.C_:.6g} of {len(expected.Cs_)}, with the score " in said
    assert SoftmaxClassifierCV.load("m.safetensors").C_ == expected.C_
    assert run("predict", "m.safetensors", "test-x.npy", "--out", "s.parquet")[0] == 0


def test_a_calibrated_classifier_writes_what_its_probabilities_are_of(run, files, wine):
    x, y = wine
    model = SoftmaxClassifier(C=100).fit(x[:100], y[:100]).calibrate(x[100:], y[100:])
    model.save("m.safetensors")
    status, said, _ = run("predict", "m.safetensors", "test-x.npy", "test-y.npy", "--out", "s.parquet")
    assert status == 0
    assert f"divided by the temperature {model.temperature_.value:.6g}\n" in said
    found = pq.read_table("s.parquet")
    logits = np.stack([found.column(f"logit:{k}").to_numpy() for k in range(3)], axis=1)
    np.testing.assert_allclose(ll.softmax(logits), model.predict_proba(x[100:]), rtol=1e-12)


LABELS = {
    "bool": [False, True],
    "int8": np.array([-3, 4], np.int8),
    "whole floats": [1.0, 2.0],
    "text": ["no", "yes"],
    "numbers from 1": [1, 2, 3],
}


@pytest.mark.parametrize("out", ["s.parquet", "s.csv"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_labels_of_every_kind_are_evaluated_without_more_options(run, files, wine, labels, out):
    x, y = wine
    labels = np.asarray(labels)
    y = np.minimum(y, len(labels) - 1)
    pq.write_table(table(x, y=labels[y]), "t.parquet")
    assert run("fit", "t.parquet", "--label", "y", "--out", "m.safetensors", "--tol", "1e-9")[0] == 0
    model = SoftmaxClassifier.load("m.safetensors")
    assert model.classes_.tolist() == labels.tolist()
    assert model.classes_.dtype.kind == {"f": "i"}.get(labels.dtype.kind, labels.dtype.kind)
    assert run("predict", "m.safetensors", "t.parquet", "--label", "y", "--out", out)[0] == 0
    assert run("evaluate", out, "--label", "y", "--json", "r.json")[0] == 0
    theirs = LogisticRegression(tol=1e-10, solver="newton-cholesky").fit(x, y).score(x, y)
    assert json.loads((files / "r.json").read_text())["accuracy"]["value"] == theirs


@pytest.mark.parametrize("labels", [["a", "b", "c"], [5, 6, 7]])
def test_rows_without_a_label_are_left_out(run, files, wine, labels):
    x, y = wine
    y = [None if i % 7 == 3 else labels[k] for i, k in enumerate(y.tolist())]
    kept = np.array([one is not None for one in y])
    pq.write_table(table(x, label=y), "gaps.parquet")
    status, said, _ = run("fit", "gaps.parquet", "--out", "m.safetensors")
    assert status == 0
    assert said.startswith(
        f"{kept.sum()} rows, {(~kept).sum()} without a label left out, 4 features, 3 classes\n"
    )
    expected = SoftmaxClassifier().fit(x[kept], [one for one in y if one is not None])
    found = SoftmaxClassifier.load("m.safetensors")
    assert found.classes_.tolist() == expected.classes_.tolist()
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-9)
    if labels == [5, 6, 7]:  # in arrays an index says so, and the features stay in their file
        np.save("x.npy", x)
        np.save("y.npy", np.array([-1 if one is None else one for one in y]))
        status, said, _ = run("fit", "x.npy", "y.npy", "--ignore-index", -1, "--out", "m.safetensors")
        assert said.startswith(f"{kept.sum()} rows, {(~kept).sum()} without a label left out, ")
        found = SoftmaxClassifier.load("m.safetensors")
        assert found.classes_.tolist() == labels
        np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-9)


def test_weights_and_soft_targets(run, files, wine):
    x, y = wine
    w = np.arange(len(x)) % 3
    pq.write_table(table(x, label=y, w=w), "w.parquet")
    assert run("fit", "w.parquet", "--weight", "w", "--out", "m.safetensors")[0] == 0
    expected = SoftmaxClassifier().fit(np.repeat(x, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(SoftmaxClassifier.load("m.safetensors").coef_, expected.coef_, atol=1e-9)
    np.save("x.npy", x)
    np.save("soft.npy", np.eye(3)[y] * 0.9 + 0.1 / 3)
    assert run("fit", "x.npy", "soft.npy", "--out", "m.safetensors")[0] == 0
    expected = SoftmaxClassifier(label_smoothing=0.1).fit(x, y)
    np.testing.assert_allclose(SoftmaxClassifier.load("m.safetensors").coef_, expected.coef_, atol=1e-9)


def test_shards_are_one_table(run, files, wine):
    x, y = wine
    for i in range(2):
        cut = slice(89 * i, 89 * (i + 1))
        np.savez(f"part{i}.npz", logits=x[cut], targets=y[cut])
        pq.write_table(table(x[cut], label=y[cut]), f"part{i}.parquet")
    expected = SoftmaxClassifier().fit(x, y)
    for pattern in ("part*.npz", "part*.parquet"):
        assert run("fit", pattern, "--out", "m.safetensors")[0] == 0
        np.testing.assert_allclose(SoftmaxClassifier.load("m.safetensors").coef_, expected.coef_, atol=1e-9)
        assert run("predict", "m.safetensors", pattern, "--out", "s.parquet")[1].startswith("178 rows")


def test_a_fit_that_did_not_converge_is_said(run, files):
    status, said, err = run("fit", *WAYS["npy"][0], "--max-iter", 1, "--out", "m.safetensors")
    assert status == 0
    assert err.startswith(
        "lastlayer: warning: SoftmaxClassifier stopped after 1 iterations with a gradient norm"
    )
    assert err.count("\n") == 1
    assert said.endswith("wrote m.safetensors\n")


# --- memory -------------------------------------------------------------------------------------------------


def test_features_of_npy_stay_in_their_file(files):
    np.save("x.npy", np.ones((50, 3), np.float16))
    np.save("y.npy", np.arange(50) % 2)
    found = training_of("x.npy", "y.npy", None, None, None, -100)
    assert isinstance(found.x, np.memmap)
    assert found.x.dtype == np.float16


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_predict_in_constant_memory(run, files, monkeypatch, form):
    """Four times as many rows, 20 MB of features, take no more memory."""
    monkeypatch.setattr("lastlayer.cli.predict._BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr("lastlayer.evaluation.readers.arrays.BLOCK_BYTES", 1 << 20)
    x = np.random.default_rng(0).normal(size=(80_000, 64)).astype(np.float32)
    SoftmaxClassifier(max_iter=1, tol=1).fit(x[:50], np.arange(50) % 10).save("m.safetensors")
    names = [] if form == "npy" else ["--features", ",".join(f"x{k}" for k in range(64))]
    peaks = []
    for n in (20_000, 80_000):
        if form == "npy":
            np.save("x.npy", x[:n])
        else:
            pq.write_table(table(x[:n]), "x.parquet", row_group_size=4000)
        tracemalloc.start()
        assert run("predict", "m.safetensors", f"x.{form}", *names, "--out", "s.parquet")[0] == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 6 << 20
