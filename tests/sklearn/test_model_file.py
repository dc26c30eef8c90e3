"""Saved classifiers: the same bits again, in a file that others read; and damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError

import lastlayer as ll
from lastlayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV
from lastlayer.sklearn.plain_values import from_plain, to_plain

N, D = 120, 4


def rows(classes=3, seed=0, dtype=np.float64):
    r = np.random.default_rng(seed)
    x = r.normal(size=(N, D)).astype(dtype)
    z = x @ r.normal(size=(D, classes)) + r.gumbel(size=(N, classes))
    return x, z.argmax(axis=1)


def model_of(labels=None, **options):
    x, y = rows(2 if labels is None else len(labels))
    return SoftmaxClassifier(**options).fit(x, y if labels is None else np.array(labels)[y]), x


LABELS = {
    "text": np.array(["ant", "bee", "cöw"]),
    "objects": np.array(["ant", "bee", ""], dtype=object),
    "int64": np.array([-3, 0, 7]),
    "uint8": np.array([1, 2, 255], np.uint8),
    "float32": np.array([0.0, 1.0, 2.0], np.float32),
    "bool": np.array([False, True]),
    "two texts": np.array(["no", "yes"]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_a_loaded_model_is_the_saved_one_to_the_bit(tmp_path, labels):
    x, y = rows(len(labels))
    model = SoftmaxClassifier(C=np.inf, tol=1e-3, class_weight="balanced").fit(x, labels[y])
    model.save(tmp_path / "m.safetensors")
    again = SoftmaxClassifier.load(tmp_path / "m.safetensors")
    assert again.classes_.dtype == model.classes_.dtype
    assert again.classes_.tolist() == model.classes_.tolist()
    assert list(map(type, again.classes_.tolist())) == list(map(type, model.classes_.tolist()))
    assert vars(again).keys() == vars(model).keys()  # nothing of a fit is left out
    assert again.get_params() == model.get_params()
    for name in ("n_iter_", "loss_", "gradient_norm_", "n_features_in_"):
        assert getattr(again, name) == getattr(model, name)
        assert type(getattr(again, name)) is type(getattr(model, name))
    for dtype in (np.float64, np.float32):
        some = x.astype(dtype)
        assert again.decision_function(some).tobytes() == model.decision_function(some).tobytes()
        assert again.predict_proba(some).tobytes() == model.predict_proba(some).tobytes()
    assert again.predict(x).tolist() == model.predict(x).tolist()


def test_temperature_names_and_options(tmp_path):
    pd = pytest.importorskip("pandas")
    x, y = rows()
    names = ["a", "β", "c d", "1"]
    table = pd.DataFrame(x, columns=names)
    weights = {0: 1.0, 1: 2.5, 2: 1}
    model = SoftmaxClassifier(0.25, class_weight=weights, label_smoothing=0.1, random_state=3, max_memory=1e8)
    model.fit(table[:80], y[:80]).calibrate(table[80:], y[80:])
    model.save(str(tmp_path / "m.safetensors"))
    again = SoftmaxClassifier.load(tmp_path / "m.safetensors")
    assert again.temperature_ == model.temperature_  # with its interval and all else
    assert again.temperature_.low < again.temperature_.value < again.temperature_.high
    assert again.feature_names_in_.tolist() == names
    assert again.feature_names_in_.dtype == object
    assert again.get_params() == model.get_params()
    assert again.class_weight == weights
    assert again.predict_proba(table).tobytes() == model.predict_proba(table).tobytes()
    again.set_params(warm_start=True).fit(table, y)  # the file is not what it lives on


@pytest.mark.parametrize("cs", [3, [0.1, 1.0, np.inf]])
def test_the_path_of_c(tmp_path, cs):
    x, y = rows()
    model = SoftmaxClassifierCV(cs, cv=3, scoring="accuracy").fit(x, y)
    model.save(tmp_path / "m.safetensors")
    again = SoftmaxClassifierCV.load(tmp_path / "m.safetensors")
    assert vars(again).keys() == vars(model).keys()
    assert again.get_params() == model.get_params()
    assert again.C_ == model.C_
    assert again.scores_.tolist() == model.scores_.tolist()
    assert again.Cs_.tolist() == model.Cs_.tolist()
    assert again.predict_proba(x).tobytes() == model.predict_proba(x).tobytes()
    with pytest.raises(ll.OptionError, match="of a SoftmaxClassifierCV; expected a saved SoftmaxClassifier"):
        SoftmaxClassifier.load(tmp_path / "m.safetensors")


def test_others_read_the_file(tmp_path):
    """The package safetensors itself, which is strict about headers and offsets."""
    numpy, safe_open = pytest.importorskip("safetensors.numpy"), pytest.importorskip("safetensors").safe_open
    model, _ = model_of(np.array([3, 4, 9], np.int16))
    model.save(tmp_path / "m.safetensors")
    found = numpy.load_file(tmp_path / "m.safetensors")
    assert found.keys() == {"coef", "intercept", "classes"}
    assert (found["coef"] == model.coef_).all()
    assert (found["intercept"] == model.intercept_).all()
    assert found["classes"].dtype == np.int16
    assert found["classes"].tolist() == [3, 4, 9]
    with safe_open(tmp_path / "m.safetensors", "np") as file:
        assert file.metadata()["schema"] == "lastlayer.model/1"
        assert json.loads(file.metadata()["model"])["class"] == "SoftmaxClassifier"


def test_a_class_of_ones_own(tmp_path):
    class Mine(SoftmaxClassifier):
        pass

    x, y = rows()
    Mine().fit(x, y).save(tmp_path / "m.safetensors")
    assert type(Mine.load(tmp_path / "m.safetensors")) is Mine
    assert type(SoftmaxClassifier.load(tmp_path / "m.safetensors")) is Mine
    SoftmaxClassifier().fit(x, y).save(tmp_path / "m.safetensors")
    with pytest.raises(ll.OptionError, match=r"of a SoftmaxClassifier; expected a saved Mine"):
        Mine.load(tmp_path / "m.safetensors")


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().save(path)
    model, _ = model_of(random_state=np.random.RandomState(0))
    with pytest.raises(ll.OptionError) as found:
        model.save(path)
    assert str(found.value) == (
        "SoftmaxClassifier.save: random_state is a RandomState; expected numbers, text, or a list or dict of "
        "them; it is not needed to predict: set_params(random_state=...) to a plain value first"
    )
    model.set_params(random_state=0)
    with pytest.raises(
        ll.OptionError, match=r"save: path is 'm\.bin'; expected a name that ends in \.safete"
    ):
        model.save("m.bin")
    with pytest.raises(
        ll.OptionError, match=r"SoftmaxClassifier\.save: path is .* expected a file that can be"
    ):
        model.save(tmp_path / "nowhere" / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_if_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model, _ = model_of()
    model.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lastlayer.evaluation.writing.os.fsync", full)
    model.set_params(C=2.0)
    with pytest.raises(ll.OptionError, match="No space left on device"):
        model.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["m.safetensors"]


# --- files by whomever --------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path):
    """The tensors and the metadata of a good file, and a function that writes a file of others."""
    numpy = pytest.importorskip("safetensors.numpy")
    x, y = rows()
    path = tmp_path / "m.safetensors"
    model = SoftmaxClassifier().fit(x[:80], y[:80]).calibrate(x[80:], y[80:])
    model.save(path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    saved = json.loads(header["__metadata__"]["model"])

    def load(tensors=(), schema="lastlayer.model/1", text=None, **changed):
        arrays = numpy.load_file(path) if not isinstance(tensors, dict) else tensors
        model = json.dumps({**saved, **changed}) if text is None else text
        other = tmp_path / "other.safetensors"
        other.write_bytes(numpy.save(arrays, {"schema": schema, "model": model}))
        return SoftmaxClassifier.load(other)

    return numpy.load_file(path), saved, load


def test_the_test_writes_files_that_are_read(parts):
    assert parts[2]().n_features_in_ == D


def nan_in(a):
    return np.where(np.arange(a.size).reshape(a.shape) == a.size - 1, np.nan, a)


TENSORS = {
    "no weights": (lambda t: t.pop("coef"), "coef_"),
    "no intercepts": (lambda t: t.pop("intercept"), "intercept_"),
    "no classes": (lambda t: t.pop("classes"), "classes"),
    "another tensor": (lambda t: t.update(bias=t["intercept"]), "unknown tensor 'bias'"),
    "NaN": (lambda t: t.update(coef=nan_in(t["coef"])), "coef is not finite"),
    "infinity": (lambda t: t.update(intercept=t["intercept"] + np.inf), "intercept is not finite"),
    "integers": (lambda t: t.update(coef=t["coef"].astype(np.int64)), "coef is int64"),
    "a class less": (lambda t: t.update(classes=t["classes"][:2]), "coef has 3 rows for 2 classes"),
    "one class": (lambda t: t.update(classes=t["classes"][:1]), "coef is of shape"),
    "a class twice": (lambda t: t.update(classes=np.array([0, 1, 1])), "not in order"),
    "classes of two axes": (lambda t: t.update(classes=np.array([[0, 1, 2]])), "classes are no labels"),
    "an intercept less": (lambda t: t.update(intercept=t["intercept"][:2]), r"intercept is of shape \(2,\)"),
    "weights of one axis": (lambda t: t.update(coef=t["coef"][0]), r"coef is of shape \(4,\)"),
    "no features": (lambda t: t.update(coef=t["coef"][:, :0]), r"coef is of shape \(3, 0\)"),
    "Cs without scores": (lambda t: t.update(Cs=np.ones(2)), "of Cs and scores one is missing"),
}


@pytest.mark.parametrize(("change", "message"), TENSORS.values(), ids=TENSORS.keys())
def test_wrong_tensors(parts, change, message):
    tensors, _, load = parts
    change(tensors)
    with pytest.raises(ll.OptionError, match=message) as found:
        load(tensors)
    assert str(found.value).startswith("SoftmaxClassifier.load: path is ")


METADATA = {
    "no JSON": ({"text": "{"}, "Expecting"),
    "a list": ({"text": "[]"}, "keys differ"),
    "deep": ({"text": "[" * 100_000}, "recursion"),
    "another key": ({"code": "print(1)"}, "keys differ"),
    "another class": ({"class": "Pipeline"}, "of a Pipeline; expected a saved SoftmaxClassifier"),
    "no class": ({"class": 3}, "its class is no name"),
    "an unknown option": ({"options": {"Q": 1}}, "Invalid parameter 'Q'"),
    "an option out of range": ({"options": {"C": -1}}, "'C' parameter"),
    "an option of an unknown form": ({"options": {"C": {"call": "os.system"}}}, "unknown form 'call'"),
    "options that are a list": ({"options": [1]}, "AttributeError"),
    "names of features": ({"features": ["a", "b", "c"]}, "names of its features do not fit"),
    "a name twice": ({"features": ["a", "b", "c", "c"]}, "names of its features do not fit"),
    "numbers as names": ({"features": [1, 2, 3, 4]}, "names of its features do not fit"),
    "no number of steps": (
        {"fitted": {"loss_": 1.0, "gradient_norm_": 0.0}},
        "a number of the fit is missing",
    ),
    "text for a number": ({"fitted": {"loss_": "low"}}, "loss_ is 'low'"),
    "another attribute": ({"fitted": {"predict": 1.0}}, "predict is 1.0"),
    "steps below 0": ({"fitted": {"n_iter_": -1}}, "n_iter_ is -1"),
    "texts and a tensor": ({"classes": {"dtype": "<U1", "labels": ["a", "b", "c"]}}, "tensor 'classes'"),
    "a temperature of another form": ({"temperature": {"schema": "x"}}, "schema is 'x'"),
}


@pytest.mark.parametrize(("changed", "message"), METADATA.values(), ids=METADATA.keys())
def test_wrong_metadata(parts, changed, message):
    with pytest.raises(ll.OptionError, match=message) as found:
        parts[2](**changed)
    assert str(found.value).startswith("SoftmaxClassifier.load: path is ")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"value": -1.0}, "value is -1.0"),
        ({"value": "nan"}, "value is nan"),
        ({"value": "high"}, "value is 'high'"),
        ({"n": 0.5}, "n is 0.5"),
        ({"more": 1}, "unexpected keyword"),
        ({"warning": 1}, "warning is 1"),
    ],
)
def test_wrong_temperatures(parts, changed, message):
    _, saved, load = parts
    with pytest.raises(ll.OptionError, match=message):
        load(temperature={**saved["temperature"], **changed})
    with pytest.raises(ll.OptionError, match=message):
        ll.Temperature.from_dict({**saved["temperature"], **changed})


@pytest.mark.parametrize(
    "classes",
    [
        {"dtype": "<U1", "labels": ["a", "b"]},
        {"dtype": "<U1", "labels": ["a", "c", "b"]},
        {"dtype": "<U9", "labels": ["a", "b", "c"]},
        {"dtype": "<i8", "labels": ["a", "b", "c"]},
        {"dtype": "<U1", "labels": ["a", "b", 3]},
        {"dtype": "<U1", "labels": "abc"},
        {"dtype": "V9", "labels": ["a", "b", "c"]},
    ],
)
def test_wrong_names_of_classes(parts, classes):
    tensors, _, load = parts
    del tensors["classes"]
    good = load(tensors, classes={"dtype": "<U1", "labels": ["a", "b", "c"]})
    assert good.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(ll.OptionError, match="a saved classifier"):
        load(tensors, classes=classes)


@pytest.mark.parametrize("schema", ["lastlayer.model/2", "lastlayer.model/99999999999999"])
def test_a_newer_version(parts, schema):
    with pytest.raises(ll.OptionError, match="expected version 1 or older; a newer lastlayer reads it"):
        parts[2](schema=schema)


@pytest.mark.parametrize("schema", ["", "lastlayer.model/", "lastlayer.model/x", "lastlayer.tally/1"])
def test_no_model(parts, schema):
    with pytest.raises(ll.OptionError, match="has no schema of a lastlayer model"):
        parts[2](schema=schema)


def test_damaged_files(tmp_path):
    path = tmp_path / "m.safetensors"
    model, _ = model_of(["a", "b", "c"])
    model.save(path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ll.OptionError, match=r"^SoftmaxClassifier\.load: path is "):
            SoftmaxClassifier.load(path)
    for length in (2**63 - 1, 2**40, len(whole)):  # of a header that is longer than the file
        path.write_bytes(length.to_bytes(8, "little") + whole[8:])
        with pytest.raises(ll.OptionError, match="its header has"):
            SoftmaxClassifier.load(path)
    for at in (-1, -60, whole.index(b"auto")):
        other = bytearray(whole)
        other[at] ^= 1
        path.write_bytes(other)
        with pytest.raises(ll.OptionError, match="its digest does not fit what it holds"):
            SoftmaxClassifier.load(path)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(ll.OptionError):
        SoftmaxClassifier.load(path)
    path.unlink()
    with pytest.raises(ll.OptionError, match="expected a file that exists"):
        SoftmaxClassifier.load(path)
    with pytest.raises(ll.OptionError, match="expected a name that ends in"):
        SoftmaxClassifier.load(tmp_path / "m.npz")


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.1, float("inf"), "a", [1, [2.5]], (1, "b"), {1: 2.0, "1": None}, {}, {True: ()}],
)
def test_plain_values(value):
    saved = json.loads(json.dumps(to_plain(value), allow_nan=False))
    again = from_plain(saved)
    assert again == value
    assert type(again) is type(value)


def test_arrays_and_scalars_as_plain_values():
    assert to_plain(np.array([1.5, 2.0])) == [1.5, 2.0]
    assert to_plain({np.int64(1): np.float32(0.5)}) == {"dict": [[1, 0.5]]}
    assert to_plain(Path("a") / "b") == str(Path("a") / "b")
    assert np.isnan(from_plain(to_plain(np.nan)))
    with pytest.raises(TypeError, match="a function"):
        to_plain([test_plain_values])
