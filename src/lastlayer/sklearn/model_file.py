"""Fitted classifiers in files of safetensors. In: an estimator, or a file from any source. Out: the other.

Arrays are tensors; all else is JSON in the file's metadata, so nothing in a file is executed. The content of
a file is checked before it is used: names, types, shapes, and that every weight is finite.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from typing import Any, NamedTuple

import numpy as np

from lastlayer.errors import OptionError
from lastlayer.evaluation.calibration import Temperature
from lastlayer.evaluation.readers.files import ArrayFile, opened_file
from lastlayer.evaluation.writing import write_whole

from .plain_values import from_plain, to_plain

__all__ = ["Model", "made_again", "read_model", "write_model"]

_SCHEMA, _VERSION = "lastlayer.model/", 1
_HEADER = 100_000_000  # bytes that readers of safetensors take
_TENSORS = {"coef_": "coef", "intercept_": "intercept", "Cs_": "Cs", "scores_": "scores"}
_NUMBERS = ("n_iter_", "loss_", "gradient_norm_", "C_")
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
}  # fmt: skip
_WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


class Model(NamedTuple):
    """The content of a file."""

    name: str  # of the estimator's class
    options: dict[str, Any]
    fitted: dict[str, Any]  # attributes


def write_model(path: Any, model: Any) -> None:
    """Write a fitted estimator to a file, whole or not at all."""
    path = _path_of(path)
    fitted = vars(model)
    tensors = {name: fitted[key] for key, name in _TENSORS.items() if key in fitted}
    saved: dict[str, Any] = {"class": type(model).__name__, "options": {}}
    for name, value in model.get_params(deep=False).items():
        try:
            saved["options"][name] = to_plain(value)
        except TypeError as error:
            remedy = f"it is not needed to predict: set_params({name}=...) to a plain value first"
            raise OptionError(
                "save", name, str(error), "numbers, text, or a list or dict of them", remedy
            ) from None
    saved["fitted"] = {name: to_plain(fitted[name]) for name in _NUMBERS if name in fitted}
    names = fitted.get("feature_names_in_")
    saved["features"] = None if names is None else [str(name) for name in names]
    temperature = fitted.get("temperature_")
    saved["temperature"] = None if temperature is None else temperature.to_dict()
    classes = np.asarray(model.classes_)
    if classes.dtype.name in _DTYPES:
        tensors["classes"] = classes
        saved["classes"] = None
    else:
        saved["classes"] = _names_of(classes)
    text = json.dumps(saved, allow_nan=False)
    arrays = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for name, a in tensors.items()}
    metadata = {"schema": f"{_SCHEMA}{_VERSION}", "model": text, "digest": _digest(text, arrays)}
    _write_safetensors(path, arrays, metadata)


def _digest(text: str, arrays: dict[str, Any]) -> str:
    """SHA-256 of all that a file holds."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        a = arrays[name]
        found.update(f"{name} {a.dtype.str} {a.shape}".encode())
        found.update(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _names_of(classes: Any) -> dict[str, Any]:
    """Labels that are text, and their dtype."""
    labels = classes.tolist()
    if classes.dtype.kind not in "UOT" or not all(isinstance(label, str) for label in labels):
        raise OptionError("save", "classes_", f"of {classes.dtype}", "numbers, booleans or text")
    return {"dtype": "text" if classes.dtype.kind == "T" else classes.dtype.str, "labels": labels}


def _write_safetensors(path: str, arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, a in sorted(arrays.items(), key=lambda item: -item[1].itemsize):  # so that each is aligned
        header[name] = {"dtype": _DTYPES[a.dtype.name], "shape": a.shape, "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _HEADER:
        rule = f"at most {_HEADER}, which readers of safetensors take"
        raise OptionError("save", "the text of classes and features", f"of {len(text)} bytes", rule)
    parts = (arrays[name].reshape(-1).view(np.uint8).data for name in header if name in arrays)
    write_whole("path", path, [len(text).to_bytes(8, "little"), text, *parts])


def _path_of(path: Any) -> str:
    path = os.fspath(path)
    if not path.lower().endswith(".safetensors"):
        raise OptionError("save", "path", repr(path), "a name that ends in .safetensors")
    return str(path)


# --- reading ------------------------------------------------------------------------------------------------


def read_model(path: Any) -> Model:
    """Read what `write_model` wrote, and check it."""
    path = _path_of(path)
    if not os.path.isfile(path):
        raise OptionError("load", "path", repr(path), "a file that exists")
    file = opened_file("path", path)
    schema = file.metadata.get("schema", "")
    version = schema.removeprefix(_SCHEMA)
    if not schema.startswith(_SCHEMA) or not version.isdecimal():
        raise _damaged(path, "its metadata has no schema of a lastlayer model")
    if len(version) > 9 or int(version) != _VERSION:
        rule, remedy = f"version {_VERSION} or older", "a newer lastlayer reads it"
        raise OptionError("load", "path", f"{path!r} of version {version[:20]}", rule, remedy)
    try:
        return _model_of(file)
    except OptionError as error:
        raise _damaged(path, str(error)) from error
    except _WRONG as error:
        why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise _damaged(path, why) from error


def made_again(cls: Any, path: str, model: Model) -> Any:
    """The estimator in a file: of this class, or of one that is derived from it."""
    found = next((kind for kind in _with_derived(cls) if kind.__name__ == model.name), None)
    if found is None:
        raise OptionError("load", "path", f"{path!r} of a {model.name[:80]}", f"a saved {cls.__name__}")
    try:
        made = found().set_params(**model.options)
        made._validate_params()
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    vars(made).update(model.fitted)
    return made


def _with_derived(cls: Any) -> list[Any]:
    return [cls, *(kind for one in cls.__subclasses__() for kind in _with_derived(one))]


def _damaged(path: str, why: str) -> OptionError:
    return OptionError("load", "path", repr(path), f"a saved classifier ({why})")


def _model_of(file: ArrayFile) -> Model:
    saved = json.loads(file.metadata["model"])
    _require(
        set(saved) == {"class", "options", "fitted", "features", "temperature", "classes"}, "its keys differ"
    )
    arrays = {name: np.array(opened()) for name, opened in file.arrays.items()}
    given = file.metadata.get("digest")  # files that others made may have none
    _require(
        given in (None, _digest(file.metadata["model"], arrays)), "its digest does not fit what it holds"
    )
    classes = _classes_of(saved["classes"], arrays)
    unknown = set(arrays) - set(_TENSORS.values())
    _require(not unknown, f"it has an unknown tensor {min(unknown, default='')!r}")
    fitted: dict[str, Any] = {key: arrays[name] for key, name in _TENSORS.items() if name in arrays}
    _check_weights(fitted, len(classes))
    for name, value in saved["fitted"].items():
        value = from_plain(value)
        _require(name in _NUMBERS and type(value) in (int, float), f"{name} is {value!r}")
        _require(name != "n_iter_" or (type(value) is int and value >= 0), f"{name} is {value!r}")
        fitted[name] = value
    _require({"n_iter_", "loss_", "gradient_norm_"} <= set(fitted), "a number of the fit is missing")
    fitted |= {"classes_": classes, "n_features_in_": fitted["coef_"].shape[1]}
    if (names := saved["features"]) is not None:
        _require(
            _are_names(names, fitted["n_features_in_"]), "the names of its features do not fit its weights"
        )
        fitted["feature_names_in_"] = np.array(names, dtype=object)
    if saved["temperature"] is not None:
        fitted["temperature_"] = Temperature.from_dict(saved["temperature"])
    _require(isinstance(saved["class"], str), "its class is no name")
    return Model(
        saved["class"], {name: from_plain(value) for name, value in saved["options"].items()}, fitted
    )


def _classes_of(saved: Any, arrays: dict[str, Any]) -> Any:
    """The labels: a tensor of their own, which is taken out of the arrays, or text."""
    if saved is None:
        classes = arrays.pop("classes")
        _require(classes.ndim == 1 and bool(np.isfinite(classes).all()), "its classes are no labels")
        _require(bool((classes[1:] > classes[:-1]).all()), "its classes are not in order")
        return classes
    dtype, labels = saved["dtype"], saved["labels"]
    _require(
        isinstance(labels, list) and _are_names(labels, len(labels)), "its classes are not different texts"
    )
    _require(labels == sorted(labels), "its classes are not in order")
    if dtype == "text":
        return np.array(labels, dtype=np.dtypes.StringDType())
    found = np.array(labels, dtype=object if dtype == "|O" else None)
    _require(dtype == "|O" or found.dtype == np.dtype(dtype), f"its classes are of dtype {dtype!r}")
    return found


def _check_weights(fitted: dict[str, Any], classes: int) -> None:
    coef, intercept = fitted["coef_"], fitted["intercept_"]
    _require(coef.ndim == 2 and coef.shape[1] > 0 and classes >= 2, f"coef is of shape {coef.shape}")
    logits = 1 if classes == 2 else classes
    _require(len(coef) == logits, f"coef has {len(coef)} rows for {classes} classes")
    _require(intercept.shape == (logits,), f"intercept is of shape {intercept.shape}")
    for name in ("coef_", "intercept_"):
        a = fitted[name]
        _require(a.dtype.name in ("float64", "float32"), f"{_TENSORS[name]} is {a.dtype}")
        _require(math.isfinite(float(np.abs(a).max(initial=0))), f"{_TENSORS[name]} is not finite")
    _require(("Cs_" in fitted) == ("scores_" in fitted), "of Cs and scores one is missing")
    if "Cs_" in fitted:
        cs, scores = fitted["Cs_"], fitted["scores_"]
        _require(cs.dtype == scores.dtype == np.float64 and cs.ndim == 1, "Cs are no numbers")
        _require(scores.ndim == 2 and scores.shape[1] == len(cs), f"scores is of shape {scores.shape}")


def _are_names(names: Any, count: int) -> bool:
    return (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(names) == len(set(names)) == count
    )


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)
