"""The native core: C++ on buffers and tensors.

Arrays are checked for what memory safety rests on, and for nothing else: a wrong one is a ``ValueError``, a
``TypeError`` or a ``BufferError``, and a mistake of this package. Wherever an array goes, a torch tensor on
the CPU goes too: it is read and written where it lies, with or without ``requires_grad``, and nothing is
recorded for autograd. bfloat16 travels in arrays as ``uint16`` with a flag beside it; a tensor needs no flag.
A ``softcap`` of 0 is none. ``threads`` is for this call, in place of `get_num_threads`, and has the
workers of the process's OpenMP runtime (PyTorch's) do it where there is one; 0 leaves it at that.
`use_threads` says the same for all calls of a thread.
Every argument can be given by keyword.
"""

from typing import Any, TypeAlias

from numpy import bool_, float32, float64, int64, integer
from numpy.typing import NDArray

Tensor: TypeAlias = Any  # torch.Tensor, of the same dtype as the array beside it

def softmax(
    scores: NDArray[Any] | Tensor,
    axis: int,
    out: NDArray[Any] | Tensor,
    log: bool,
    where: NDArray[bool_] | Tensor | None,
    temperature: float,
    softcap: float,
    bfloat: bool,
    threads: int = 0,
) -> None: ...
def softmax_backward(
    grad: NDArray[Any] | Tensor,
    y: NDArray[Any] | Tensor,
    axis: int,
    out: NDArray[Any] | Tensor,
    log: bool,
    bfloat: bool,
    threads: int = 0,
) -> None: ...
def row_stats(
    scores: NDArray[Any] | Tensor,
    axis: int,
    bfloat: bool,
    where: NDArray[bool_] | Tensor | None,
    temperature: float,
    softcap: float,
    targets: NDArray[Any] | Tensor | None,
    dense: bool,
    targets_bfloat: bool,
    ignore_index: int | None,
    into: dict[str, NDArray[Any] | Tensor],
    k: int,
    threads: int = 0,
    class_weight: NDArray[float64] | Tensor | None = None,
    sample_weight: NDArray[float64] | Tensor | None = None,
    on: float = 1.0,
    off: float = 0.0,
    shard: bool = False,
    threshold: NDArray[float64] | Tensor | None = None,
) -> None:
    """Fill ``into``: its keys are the results wanted, ``top_label`` and ``top_probability`` if ``k`` > 0.

    ``peak`` comes in the computing type: float64 for float64, and for float32 with a temperature or softcap.
    ``shard``: the scores are some of the classes. A class index outside of them is a class of another part,
    not of nobody; and ``off`` is of all classes. The ``rank`` of a shard counts its classes that come before
    the target of each row, whose score, as the shard would have it, is ``threshold``. Its best classes are
    sought among those that reach the ``threshold`` of their row, if given; labels that are not found are -1.
    """

def cross_entropy(
    scores: NDArray[Any] | Tensor,
    axis: int,
    bfloat: bool,
    temperature: float,
    softcap: float,
    targets: NDArray[Any] | Tensor,
    dense: bool,
    targets_bfloat: bool,
    class_weight: NDArray[float64] | Tensor | None,
    sample_weight: NDArray[float64] | Tensor | None,
    ignore_index: int | None,
    on: float,
    off: float,
    z_loss: float,
    scale: float,
    kind: int,
    losses: NDArray[float32] | NDArray[float64] | Tensor | None,
    grad: NDArray[Any] | Tensor | None,
    threads: int = 0,
    peak: NDArray[Any] | Tensor | None = None,
    rest: NDArray[float64] | Tensor | None = None,
    mass: NDArray[float64] | Tensor | None = None,
    tilt: NDArray[float64] | Tensor | None = None,
) -> float:
    """``scale`` times the sum of the rows' losses; or 0, with the losses themselves in ``losses`` if given.

    ``kind``: 0 loss, 1 loss and gradient, 2 and 3 the loss of log-probabilities and of probabilities. A loss
    leaves each row's ``peak`` and ``rest`` in these arrays; a gradient that is given them finds them there.
    With ``mass`` too it is the gradient of a shard (see `row_stats`), and all three are of the whole row;
    with ``tilt`` it is ``(mass + tilt (z_j - peak)) p_j - t_j`` before scaling. These may be of any sign.
    """

def target_totals(
    targets: NDArray[integer[Any]] | Tensor,
    classes: int,
    ignore_index: int | None,
    class_weight: NDArray[float64] | Tensor | None,
    sample_weight: NDArray[float64] | Tensor | None,
) -> tuple[int, float]:
    """The position of the first index out of range or -1, and the weight of the rows that are not ignored."""

def add_exactly(
    values: NDArray[float64] | Tensor,
    places: NDArray[int64] | Tensor | None,
    place: int,
    limbs: NDArray[int64] | Tensor,
) -> int:
    """Add each value to the sum at its place, or all to one; how many were left out: not finite, or large."""

def sparse_product(starts: Any, columns: Any, numbers: Any, b: Any, out: Any) -> None:
    """Fill ``out`` (N, K) with a CSR matrix times ``b`` (D, K): all of float32, or all of float64."""

def linear_sums(
    x: Any,
    weight: Any,
    targets: Any,
    sample_weight: Any | None,
    smoothing: float,
    in_double: bool,
    gradient: Any,
) -> tuple[float, float]:
    """Fill ``gradient`` (K, D + 1), float64, with sum_n g_n [x_n, 1]^T; the sums of losses and of |g|^2.

    ``x`` (N, D) is float16, float32 or float64; ``weight`` (K, D + 1) is float64, the intercept last;
    ``targets`` are int64 (N,) or probabilities (N, K). Products are in float32, or float64 if ``in_double``.
    """

def tally(
    scores: NDArray[Any] | Tensor,
    bfloat: bool,
    targets: NDArray[integer[Any]] | Tensor,
    ignore_index: int | None,
    temperature: float,
    tables: dict[str, NDArray[Any] | Tensor],
    numbers: NDArray[int64] | Tensor | None,
    floor: float,
    weights: NDArray[float64] | Tensor | None = None,
) -> tuple[int, int, bytes, list[tuple[float, int, int, int]]]:
    """Count rows of logits (N, V) into ``tables``: how many, how many ignored, which not, the hardest.

    ``top_k``, ``edges`` and ``fine_edges`` are read, and all other tables added to: counts, and exact sums of
    three integers each. Rows whose peak is not finite, or whose loss is large, are left out: their places
    come as bytes of int64. The hardest, of those with a loss of ``floor`` or more, are (loss, number, target,
    argmax), and wanted where ``numbers`` are given. An interrupted call adds nothing.

    With ``weights`` every table holds sums, and ``weight``, ``wx``, ``w2x`` and ``w2x2`` take the place of
    ``sums`` and ``squares``. Rows of weight 0 are ignored, and those of more than 16 left out.
    """

def row_metrics(
    stats: dict[str, NDArray[float64] | Tensor], into: dict[str, NDArray[float64] | Tensor]
) -> None:
    """Fill ``loss``, ``brier``, ``confidence`` and ``entropy`` from the statistics of rows."""

def large_pages(array: NDArray[Any] | Tensor) -> None:
    """Ask for the memory of a new array in large pages, where the system has a way to."""

def digest(array: NDArray[Any] | Tensor) -> int:
    """A number of all bits of an array and their places: another one after any write to it."""

def use_threads(n: int) -> int:
    """Set the number of threads for this thread's calls, and return the one before; 0: the process's."""

def get_num_threads() -> int:
    """Threads that large calls are divided over."""

def set_num_threads(n: int) -> None:
    """Set the number of threads of this process."""

def isas() -> list[str]:
    """Instruction sets this machine can run, widest first."""

def isa() -> str:
    """The instruction set in use."""

def set_isa(name: str) -> bool:
    """Choose an instruction set by name; False if it cannot run here."""

# The elementary functions by themselves, to be measured.
def exp_f32(x: NDArray[float32] | Tensor, out: NDArray[float32] | Tensor) -> None: ...
def exp_f64(x: NDArray[float64] | Tensor, out: NDArray[float64] | Tensor) -> None: ...
def log1p_f32(x: NDArray[float32] | Tensor, out: NDArray[float32] | Tensor) -> None: ...
def log1p_f64(x: NDArray[float64] | Tensor, out: NDArray[float64] | Tensor) -> None: ...
