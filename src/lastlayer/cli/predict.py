"""``lastlayer predict``: the logits of a saved classifier, for features in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from lastlayer.blocks import to_host
from lastlayer.errors import errors_of
from lastlayer.evaluation.readers.columns import Columns, Wanted
from lastlayer.evaluation.readers.datasets import Files
from lastlayer.evaluation.readers.paths import TABLES, Request, files_of, form_of, source_of
from lastlayer.evaluation.readers.source import Block
from lastlayer.evaluation.table_file import arrow_for, table_file

from .data import columns_of
from .features import WORDS, check_axes, check_finite
from .fit import Data, Features, Targets, check_output, estimators
from .usage import UsageError

__all__ = ["predict"]

_BLOCK_BYTES = 1 << 24  # bytes of the features and logits of a block
_FORMS = (".parquet", ".csv")


class _Part(NamedTuple):
    """Consecutive rows."""

    x: Any  # (n, D)
    kept: list[Any]  # columns that are copied to the output


class _Input(NamedTuple):
    """The input, read in blocks of rows."""

    parts: Iterator[_Part]
    kept: list[tuple[str, Any]]  # names and types of the columns that are kept
    is_single: bool  # features in 32 bits or fewer


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file that fit wrote.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="The file of the scores: .parquet or .csv.")],
    targets: Targets = None,
    label: Annotated[
        str | None,
        typer.Option(help="The column of the labels, which is kept; default: label, if there is one."),
    ] = None,
    features: Features = None,
    keep: Annotated[str | None, typer.Option(help="More columns that are kept, with commas.")] = None,
) -> None:
    """Write the logits of a classifier that fit wrote, and the labels beside them, for evaluate.

    \b
    Examples:
      lastlayer predict model.safetensors test.parquet --label answer --out scores.parquet
      lastlayer evaluate scores.parquet --label answer
      lastlayer predict model.safetensors x.npy y.npy --out scores.parquet

    The columns are called logit:<class>. Logits of a calibrated classifier are divided by its temperature.
    The data is read some rows at a time, and may be larger than memory.
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    estimators()
    from lastlayer.sklearn.linear_classifier import LinearClassifier

    check_output(out, _FORMS, {"MODEL": model, "DATA": data, "TARGETS": targets})
    with errors_of("predict", names={"path": "MODEL"}):
        classifier = LinearClassifier.load(model)
    names = classifier.__dict__.pop("feature_names_in_", None)  # they select the columns here
    columns = columns_of(features) or (None if names is None else names.tolist())
    with errors_of("predict", names={**WORDS, "path": "--out"}):
        pa: Any = arrow_for("table_file", str(out))
        found = _opened(pa, data, targets, label, columns, columns_of(keep))
        rows = _write(pa, out, classifier, found)
    temperature = float(getattr(classifier, "temperature_", 1))
    divided = f", divided by the temperature {temperature:.6g}" if temperature != 1 else ""
    print(f"{rows:,} rows, {len(classifier.classes_):,} classes{divided}")
    print(f"wrote {out}")


def _opened(pa: Any, data: Path, targets: Path | None, label: str | None, columns: Any, keep: Any) -> _Input:
    """The input, and which columns of it are kept."""
    paths = files_of("scores", str(data))
    form = form_of("scores", str(data), paths)
    keep = [keep] if isinstance(keep, str) else keep or []
    if form in TABLES:
        if columns is None:
            raise UsageError(
                "--features is missing; expected the columns of the features: MODEL has no names"
            )
        if targets is not None:
            raise UsageError(
                f"TARGETS is {str(targets)!r}; expected none: DATA is a table; name a column by --label"
            )
        return _of_tables(
            Files("scores", paths, form[1:], _wanted(columns, label, keep)), columns, label, keep
        )
    if keep:
        raise UsageError(f"--keep is {','.join(keep)!r}; expected none: DATA has no columns")
    return _of_arrays(pa, data, targets, label, columns if isinstance(columns, str) else None)


def _wanted(columns: Any, label: str | None, keep: list[str]) -> Wanted:
    """The features, and columns that are kept; the reader does not read labels here."""
    facts = {f"keep[{i}]": name for i, name in enumerate(keep)}
    facts |= {} if label is None else {"label": label}
    return Wanted(columns=columns, label=label, targets=np.zeros(()), facts=facts)


def _of_tables(files: Files, columns: Any, label: str | None, keep: list[str]) -> _Input:
    if label is None and "label" in files.schema.names:
        label = "label"
    needed = Columns(files, _wanted(columns, label, keep)).names()
    read = Columns(files, _wanted(columns, None, []))  # which does not change the others
    keep = list(dict.fromkeys([*([] if label is None else [label]), *keep]))
    names = None if read.is_list else read.scores
    types = [str(files.schema.field(name).type) for name in read.scores]
    is_single = all("float" in one and "64" not in one and "double" not in one for one in types)

    def parts() -> Iterator[_Part]:
        first, size = 0, max(1, min(1 << 16, _BLOCK_BYTES // max(8, read.row_bytes)))
        for batch in files.batches(needed, size):
            x = read.read(batch, first)[0]
            check_finite(x, names, first)
            yield _Part(x, [batch.column(name) for name in keep])
            first += batch.num_rows

    return _Input(parts(), [(name, files.schema.field(name).type) for name in keep], is_single)


def _of_arrays(pa: Any, data: Path, targets: Path | None, label: str | None, name: str | None) -> _Input:
    has_labels = targets is not None or label is not None
    given = targets if has_labels else np.zeros(())
    source = source_of(Request(data, given, label, name, -1, False, {}))
    blocks = source.blocks(0)
    first = next(blocks, None)
    kind = None if first is None or not has_labels else pa.array(_one_a_row(first)[:1]).type

    def parts() -> Iterator[_Part]:
        block = first
        while block is not None:
            x = to_host(block.scores)
            check_axes(x)
            check_finite(x, None, block.first)
            yield _Part(x, [pa.array(_one_a_row(block), kind)] if has_labels else [])
            block = next(blocks, None)

    is_single = first is not None and to_host(first.scores).dtype.itemsize <= 4
    return _Input(parts(), [(label or "label", kind)] if has_labels else [], is_single)


def _one_a_row(block: Block) -> Any:
    """The labels of a block."""
    found = to_host(block.targets)
    if found.size != block.rows:
        raise UsageError(f"TARGETS has rows of shape {found.shape[1:]}; expected a label for each row")
    return found.reshape(-1)


def _write(pa: Any, out: Path, classifier: Any, found: _Input) -> int:
    """Write the logits of all rows, and return how many there were."""
    kind = pa.float32() if found.is_single else pa.float64()
    fields = {f"logit:{_text(one)}": kind for one in classifier.classes_.tolist()}
    twice = next((name for name, _ in found.kept if name in fields), None)
    if twice is not None:
        raise UsageError(f"the column {twice!r} is kept; expected another name than those of the logits")
    kept = {name: _type_in_file(pa, out, one) for name, one in found.kept}
    schema = pa.schema({**kept, **fields}, metadata={"lastlayer.kind": "logits"})
    rows = 0
    with table_file("table_file", str(out), schema) as write:
        for part in found.parts:
            n = len(part.x)
            step = max(1, _BLOCK_BYTES // (8 * len(fields)))
            for at in range(0, n, step):
                z = _logits(classifier, part.x[at : at + step])
                columns = [pa.array(np.ascontiguousarray(z[:, k]), kind) for k in range(len(fields))]
                some = (column.slice(at, len(z)) for column in part.kept)
                write([*map(_as_type, [pa] * len(kept), some, kept.values()), *columns])
            rows += n
    return rows


def _type_in_file(pa: Any, out: Path, kind: Any) -> Any:
    """The type of a column in the file. CSV has no categories, and has "True" and "False" for booleans."""
    if out.suffix.lower() != ".csv":
        return kind
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if pa.types.is_boolean(kind) else kind


def _as_type(pa: Any, column: Any, kind: Any) -> Any:
    """A kept column, with the type that it gets in the file."""
    if column.type == kind:
        return column
    if pa.types.is_boolean(column.type):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], kind)
    return column.cast(kind)


def _logits(classifier: Any, x: Any) -> Any:
    """The logits (n, V), whose softmax is `predict_proba`."""
    if x.shape[1] != classifier.n_features_in_:
        rule = f"{classifier.n_features_in_}, as MODEL was fitted to"
        raise UsageError(f"DATA has {x.shape[1]} features; expected {rule}")
    z = classifier.decision_function(x)
    z = np.stack([np.zeros_like(z), z], axis=1) if z.ndim == 1 else z
    return z / z.dtype.type(getattr(classifier, "temperature_", 1))


def _text(label: Any) -> str:
    """The name of a class as `evaluate` reads it: 1 and 1.0 are the same label."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
