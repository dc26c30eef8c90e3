"""Errors for PyTorch tensors that a call cannot take. In: the tensor, or its properties. Out: an error.

Whether a tensor can be taken depends on how the call is computed. So the callers, in the tensor backend and
the drop-ins, decide; these functions only raise. PyTorch is not imported here.
"""

from __future__ import annotations

from typing import Any, NoReturn

from lastlayer.errors import BackendError, DtypeError, OptionError, TensorClassError, named

from .wording import name_of, of_shape

__all__ = [
    "cannot_validate",
    "freed_memory",
    "lacks_operation",
    "no_float",
    "no_number",
    "no_options",
    "not_floating",
    "not_floating_input",
    "not_real",
    "not_strided",
    "not_tensor",
    "other_class",
    "other_device",
    "other_dtype",
    "scores_name",
]


def scores_name(function: str) -> str:
    """The name of the argument that gives the scores: ``x`` for the functions of a linear head."""
    return "x" if function.startswith("linear") else name_of(function)


def not_tensor(function: str, name: str, kind: str, remedy: str = "") -> NoReturn:
    """Refuse an argument that is no tensor."""
    raise DtypeError(function, name, f"a {kind}", "a torch.Tensor", remedy)


def not_strided(function: str, name: str, x: Any) -> NoReturn:
    """Refuse a tensor that is sparse, nested, quantized, or in a layout other than strides."""
    layout, write = str(x.layout), "write " + named(name)
    if layout == "torch.strided" and x.is_nested:
        padded = write + ".to_padded_tensor(0)"
        raise TensorClassError(function, name, "a nested tensor", "rows of equal length", padded)
    if layout == "torch.strided":  # not nested, so quantized
        raise DtypeError(function, name, f"of dtype {x.dtype}", "real numbers", write + ".dequantize()")
    kind = TensorClassError if x.is_mkldnn else DtypeError
    raise kind(function, name, f"of layout {layout}", "torch.strided", write + ".to_dense()")


def not_real(function: str, name: str, dtype: Any) -> NoReturn:
    """Refuse a tensor dtype that does not hold real numbers."""
    raise DtypeError(function, name, f"of dtype {dtype}", "real numbers")


def not_floating(function: str, name: str, x: Any) -> NoReturn:
    """Refuse scores of a dtype for which there is no softmax."""
    found = f"of dtype {x.dtype}"
    if x.is_complex():
        raise DtypeError(function, name, found, "real numbers", "write .real or .abs()")
    rule = "float16, bfloat16, float32, float64, integers or bools"
    raise DtypeError(function, name, found, rule, "write .float()")


def not_floating_input(function: str, x: Any) -> NoReturn:
    """Refuse the input of a drop-in that is not floating-point: PyTorch's functions convert no dtypes."""
    remedy = "write input.abs() or input.real" if x.is_complex() else "write input.float()"
    rule = "float16, bfloat16, float32 or float64" if x.is_floating_point() else "a floating one"
    raise DtypeError(function, "input", f"of dtype {x.dtype}", rule, remedy)


def no_float(function: str, dtype: Any) -> NoReturn:
    """Refuse a ``dtype=`` argument that is not floating-point."""
    raise DtypeError(function, "dtype", f"{dtype}", "a floating one, such as torch.float32")


def no_options(function: str, options: Any) -> NoReturn:
    """Refuse an ``options=`` argument of the wrong type."""
    rule = "a torch.nn.LinearCrossEntropyOptions or None"
    raise OptionError(function, "options", f"a {type(options).__name__}", rule)


def other_device(function: str, name: str, device: Any, wanted: Any) -> NoReturn:
    """Refuse a tensor on another device than the scores."""
    remedy = "write " + named(name) + f".to({str(wanted)!r})"
    raise DtypeError(function, name, f"on device {device}", f"{wanted}, as the scores are", remedy)


def other_dtype(function: str, name: str, dtype: Any, wanted: Any) -> NoReturn:
    """Refuse a weight or bias whose dtype is not that of ``x``."""
    raise DtypeError(function, name, f"of dtype {dtype}", f"{wanted}, as " + named("x") + " is")


def other_class(function: str, name: str, kind: str) -> NoReturn:
    """Refuse a tensor subclass where the scores are a plain tensor."""
    rule = "a torch.Tensor, as " + named(name_of(function)) + " is"
    raise TensorClassError(function, name, f"a {kind}", rule)


def lacks_operation(function: str, x: Any, kind: str, error: Exception) -> NoReturn:
    """Refuse scores of a tensor subclass that lacks an operation of the call; ``error`` is what it raised."""
    name = scores_name(function)
    first_line = str(error).strip().partition("\n")[0]
    rule = f"a torch.Tensor, or a class with every operation of this call (its own error: {first_line})"
    plain = "full_tensor()" if hasattr(x, "full_tensor") else "to_padded_tensor(0)" if x.is_nested else ""
    remedy = "write " + named(name) + f".{plain}" if plain else ""
    raise TensorClassError(function, name, f"a {kind}", rule, remedy) from error


def freed_memory(x: Any, size: Any, needed: Any) -> NoReturn:
    """Refuse a tensor whose storage was shrunk, so that its memory is gone."""
    tensor, remedy = f"a tensor {of_shape(x)}", "its memory was freed by untyped_storage().resize_"
    raise BackendError("", tensor, f"a storage of {size} bytes", f"at least {needed}", remedy, verb="has")


def cannot_validate(function: str, kind: str) -> NoReturn:
    """Refuse ``validate=True`` for tensors whose numbers cannot be read."""
    raise OptionError(function, "validate", "True", f"False for {kind}: its numbers cannot be read")


def no_number(function: str, name: str) -> NoReturn:
    """Refuse a tensor as a number option where its value cannot be read."""
    remedy = "write " + named(name) + ".item()"
    raise OptionError(function, name, "a tensor whose value is not at hand", "a number", remedy)
