"""The native core: C++ on buffers. `native` is its only caller, and says what the arguments mean.

Arrays are checked for what memory safety rests on, and for nothing else: a wrong one is a ``ValueError`` or a
``BufferError``, and a mistake of this package. bfloat16 travels as ``uint16`` with a flag beside it. A
``softcap`` of 0 is none. Every argument is positional.
"""

from typing import Any

from numpy import bool_, float32, float64, integer
from numpy.typing import NDArray

def softmax(
    scores: NDArray[Any],
    axis: int,
    out: NDArray[Any],
    log: bool,
    where: NDArray[bool_] | None,
    temperature: float,
    softcap: float,
    bfloat: bool,
    /,
) -> None: ...
def softmax_backward(
    grad: NDArray[Any], y: NDArray[Any], axis: int, out: NDArray[Any], log: bool, bfloat: bool, /
) -> None: ...
def row_stats(
    scores: NDArray[Any],
    axis: int,
    bfloat: bool,
    where: NDArray[bool_] | None,
    temperature: float,
    softcap: float,
    targets: NDArray[Any] | None,
    dense: bool,
    targets_bfloat: bool,
    ignore_index: int | None,
    into: dict[str, NDArray[Any]],
    k: int,
    /,
) -> None:
    """Fill ``into``: its keys are the results wanted, ``top_label`` and ``top_probability`` if ``k`` > 0."""

def cross_entropy(
    scores: NDArray[Any],
    axis: int,
    bfloat: bool,
    temperature: float,
    softcap: float,
    targets: NDArray[Any],
    dense: bool,
    targets_bfloat: bool,
    class_weight: NDArray[float64] | None,
    sample_weight: NDArray[float64] | None,
    ignore_index: int | None,
    on: float,
    off: float,
    z_loss: float,
    scale: float,
    kind: int,
    losses: NDArray[float32] | NDArray[float64] | None,
    grad: NDArray[Any] | None,
    /,
) -> float:
    """``scale`` times the sum of the rows' losses; or 0, with the losses themselves in ``losses`` if given.

    ``kind``: 0 loss, 1 loss and gradient, 2 and 3 the loss of log-probabilities and of probabilities.
    """

def target_totals(
    targets: NDArray[integer[Any]],
    classes: int,
    ignore_index: int | None,
    class_weight: NDArray[float64] | None,
    sample_weight: NDArray[float64] | None,
    /,
) -> tuple[int, float]:
    """The position of the first index out of range or -1, and the weight of the rows that are not ignored."""

def get_num_threads() -> int:
    """Threads that large calls are divided over."""

def set_num_threads(n: int, /) -> None:
    """Set the number of threads of this process."""

def isas() -> list[str]:
    """Instruction sets this machine can run, widest first."""

def isa() -> str:
    """The instruction set in use."""

def set_isa(name: str, /) -> bool:
    """Choose an instruction set by name; False if it cannot run here."""

# The elementary functions by themselves, to be measured.
def exp_f32(x: NDArray[float32], out: NDArray[float32], /) -> None: ...
def exp_f64(x: NDArray[float64], out: NDArray[float64], /) -> None: ...
def log1p_f32(x: NDArray[float32], out: NDArray[float32], /) -> None: ...
def log1p_f64(x: NDArray[float64], out: NDArray[float64], /) -> None: ...
