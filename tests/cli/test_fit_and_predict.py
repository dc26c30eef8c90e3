"""From features in files to a classifier, its logits and their numbers, which are those of scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import lastlayer as ll
from lastlayer.cli.features import training_of
from lastlayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV

NAMES = np.array(["barolo", "grignolino", "barbera"])


@pytest.fixture(scope="module")
def wine():
    """Few features of few rows, so that the accuracy is not 1; the rows to fit come first."""
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return StandardScaler().fit_transform(x)[order][:, 1:5], y[order]


@pytest.fixture(scope="module")
def theirs(wine):
    """The probabilities and the accuracy of scikit-learn on the rows that it was not fitted to."""
    x, y = wine
    model = LogisticRegression(C=0.5, tol=1e-10, solver="newton-cholesky").fit(x[:100], y[:100])
    return model.predict_proba(x[100:]), model.score(x[100:], y[100:])


def table(x, **columns):
    return pa.table({f"x{k}": x[:, k] for k in range(x.shape[1])} | columns)


@pytest.fixture
def files(wine, tmp_path, monkeypatch, run):  # after `run`, which goes to another folder
    x, y = wine
    monkeypatch.chdir(tmp_path)
    for part, cut in ("train", slice(0, 100)), ("test", slice(100, None)):
        named = table(x[cut], grape=NAMES[y[cut]].tolist(), row=np.arange(len(x))[cut])
        pq.write_table(named, f"{part}.parquet", row_group_size=30)
        csv.write_csv(named, f"{part}.csv")
        np.save(f"{part}-x.npy", x[cut])
        np.save(f"{part}-y.npy", y[cut])
        np.savez(f"{part}.npz", features=x[cut], targets=y[cut])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x[cut].reshape(-1)), x.shape[1])
        pq.write_table(
            pa.table({"embedding": lists, "grape": NAMES[y[cut]].tolist()}), f"{part}-list.parquet"
        )
    return tmp_path


FEATURES = ["--features", "x0,x1,x2,x3"]
WAYS = {
    "parquet": (["train.parquet", "--label", "grape", *FEATURES], ["test.parquet", "--label", "grape"]),
    "csv": (["train.csv", "--label", "grape", *FEATURES], ["test.csv", "--label", "grape"]),
    "npy": (["train-x.npy", "train-y.npy"], ["test-x.npy", "test-y.npy"]),
    "npz": (
        ["train.npz", "--features", "features"],
        ["test.npz", "--features", "features", "--label", "targets"],
    ),
    "lists": (
        ["train-list.parquet", "--label", "grape", "--features", "embedding"],
        ["test-list.parquet", "--label", "grape", "--features", "embedding"],
    ),
    "parquet, npy": (["train.parquet", "--label", "grape", *FEATURES], ["test-x.npy", "test-y.npy"]),
}


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


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit train-x.npy", "fit: TARGETS is None; expected the targets of DATA, or their file"),
        ("fit nowhere.npy", "fit: DATA is 'nowhere.npy'; expected a file, folder"),
        ("fit train-x.npy test-y.npy", "fit: TARGETS is of length 78; expected 100 as DATA has on its first"),
        ("fit train.parquet", "fit: label is 'label'; expected a column of the table ('x0', 'x1', 'x2', 'x3"),
        ("fit train.parquet --label row", "fit: the column 'grape' is of string; expected numbers; name the"),
        ("fit train.csv --label row --features grape", "fit: the column 'grape' is of string; expected numb"),
        ("fit train.parquet --label grape --features x9", "fit: features is 'x9'; expected a column of the"),
        ("fit train.parquet --label grape --weight x9", "fit: weight is 'x9'; expected a column of the tabl"),
        ("fit train.parquet --label x0 --features x1", "fit: Unknown label type: continuous"),
        ("fit train.parquet --label row --features x0,row", "fit: --features has 'row'; expected other"),
        ("fit empty.parquet --label grape --features x0", "fit: TARGETS is without a label in every row"),
        ("predict m.safetensors test-x.npy soft.npy", "predict: TARGETS has rows of shape (3,); expected"),
        ("fit train-x.npy train-y.npy --C -1", "fit: The 'C' parameter of SoftmaxClassifier must be a float"),
        ("fit train-x.npy train-y.npy --C 1 --cv 3", "fit: --C is given with --cv, which chooses it"),
        ("fit train-x.npy train-y.npy --Cs 1,2", "fit: --Cs is given without --cv; expected both, or --C"),
        ("fit train-x.npy train-y.npy --cv 3 --Cs 1,b", "fit: --Cs is '1,b'; expected numbers between comma"),
        ("fit train-x.npy train-y.npy --cv 3 --Cs -1", "fit: Cs is [-1.0]; expected numbers above 0"),
        ("fit train-x.npy train-y.npy --cv 1", "fit: The 'cv' parameter of SoftmaxClassifierCV must be"),
        ("fit nan.npy train-y.npy", "fit: X[7, 2] is NaN; expected finite numbers"),
        ("fit nan.parquet --label grape --features x0,x1", "fit: DATA[7, 'x1'] is NaN, or missing; expected"),
        ("fit cube.npy train-y.npy", "fit: DATA is of shape (100, 2, 2); expected rows of features, (N, D)"),
        ("fit train-x.npy unlabelled.npy", "fit: TARGETS is without a label in every row; expected labels"),
        ("fit train-x.npy one.npy", "needs samples of at least 2 classes in the data, but the data contains"),
        ("predict m.safetensors test-y.npy", "predict: DATA is of shape (78,); expected"),
        ("predict m.safetensors nan.npy", "predict: DATA[7, 2] is NaN, or missing; expected finite numbers"),
        ("predict m.safetensors nan.parquet", "predict: DATA[7, 'x1'] is NaN, or missing; expected finite"),
        ("predict m.safetensors wide.npy", "predict: DATA has 5 features; expected 4, as MODEL was fitted t"),
        ("predict m.safetensors test-list.parquet", "predict: features is 'x0'; expected a column of the ta"),
        ("predict m.safetensors test.parquet --label x9", "predict: label is 'x9'; expected a column of the"),
        ("predict m.safetensors test.parquet --keep x9", "predict: keep[0] is 'x9'; expected a column of th"),
        ("predict m.safetensors test-x.npy --keep x9", "predict: --keep is 'x9'; expected none: DATA has no"),
        ("predict m.safetensors test.parquet test-y.npy", "predict: TARGETS is 'test-y.npy'; expected none:"),
        ("predict test-x.npy test-x.npy", "predict: MODEL is 'test-x.npy'; expected a name that ends in .sa"),
        ("predict no.safetensors test-x.npy", "predict: MODEL is 'no.safetensors'; expected a file that exi"),
        ("predict bad.safetensors test-x.npy", "predict: MODEL is 'bad.safetensors'; expected a file of arr"),
        ("predict nameless.safetensors test.parquet", "predict: --features is missing; expected the columns"),
        ("predict m.safetensors taken.parquet --keep logit:barolo", "predict: the column 'logit:barolo' is"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line_and_leaves_the_output(run, files, wine, argv, message):
    x, y = wine
    SoftmaxClassifier().fit(x[:100], y[:100]).save("nameless.safetensors")
    assert run("fit", *WAYS["parquet"][0], "--out", "m.safetensors")[0] == 0
    wrong = x[:100].copy()
    wrong[7, 2] = np.nan
    np.save("nan.npy", wrong)
    wrong[7, 1] = np.nan
    pq.write_table(table(wrong, grape=NAMES[y[:100]].tolist()), "nan.parquet")
    np.save("cube.npy", x[:100].reshape(100, 2, 2))
    np.save("wide.npy", np.ones((10, 5)))
    pq.write_table(pq.read_table("train.parquet").slice(0, 0), "empty.parquet")
    np.save("soft.npy", np.full((78, 3), 1 / 3))
    np.save("unlabelled.npy", np.full(100, -100))
    np.save("one.npy", np.ones(100, int))
    pq.write_table(table(x, **{"logit:barolo": x[:, 0]}), "taken.parquet")
    (files / "bad.safetensors").write_bytes(b"none")
    out = "out.safetensors" if argv.startswith("fit") else "out.parquet"
    (files / out).write_text("before")
    status, said, err = run(*argv.split(), "--out", out)
    assert (status, said) == (2, "")
    assert message.removeprefix("fit: ") in err
    assert err.startswith(f"lastlayer: {argv.split()[0]}: ")
    assert err.count("\n") == 1
    assert (files / out).read_text() == "before"
    assert not list(files.glob("*.part"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit train-x.npy train-y.npy", "fit: missing option '--out'; try 'lastlayer fit --help'"),
        (
            "fit train-x.npy train-y.npy --out m.pkl",
            "fit: --out is 'm.pkl'; expected a name that ends in .safet",
        ),
        ("fit train-x.npy train-y.npy --out no/m.safetensors", "expected a file in a folder that exists"),
        ("fit a.safetensors y.npy --out ./a.safetensors", "'a.safetensors'; expected another file than DATA"),
        (
            "predict m.safetensors a.csv --out a.csv",
            "predict: --out is 'a.csv'; expected another file than DATA",
        ),
        ("predict m.safetensors a.csv --out a.npy", "expected a name that ends in .parquet or .csv"),
    ],
)
def test_outputs_are_checked_first(run, files, argv, message):
    status, said, err = run(*argv.split())
    assert (status, said) == (2, "")
    assert message in err


def test_without_scikit_learn_the_remedy_is_named():
    program = (
        "import sys\n"
        "sys.modules['sklearn'] = sys.modules['sklearn.base'] = None\n"
        "from lastlayer.cli.main import main\n"
        "sys.exit(main(['fit', 'x.npy', 'y.npy', '--out', 'm.safetensors']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "lastlayer: fit: this needs the package sklearn; run: pip install 'lastlayer[sklearn]'\n"
    )
