"""What is measured: named shapes, and the demands on them, as data. `run.py` measures, renders and judges."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["DEMANDS", "FUNCTIONS", "LIMITS", "PROBLEMS", "Demand", "Limit", "Problem"]


@dataclass(frozen=True)
class Problem:
    """Scores of one shape: who has them, their class axis and their dtype."""

    name: str
    shape: tuple[int, ...]
    who: str
    axis: int = -1
    dtype: str = "float32"
    scale: float = 3.0

    @property
    def classes(self) -> int:
        return self.shape[self.axis]

    @property
    def rows(self) -> int:
        return math.prod(self.shape) // self.classes

    def smaller(self, by: int) -> Problem:
        """Return the same problem with 1/by of the rows, for a quick look."""
        return replace(self, shape=(max(1, self.shape[0] // by), *self.shape[1:]))

    def scores(self) -> np.ndarray:
        """Draw logits, of scale 3 as a trained model has them: the same on every run."""
        rng = np.random.default_rng(0)
        scores = rng.standard_normal(self.shape, dtype=np.float32)
        scores *= self.scale
        if self.dtype == "bfloat16":
            import ml_dtypes

            return scores.astype(ml_dtypes.bfloat16)
        return scores.astype(self.dtype, copy=False)

    def targets(self) -> np.ndarray:
        """Draw class indices, one per row."""
        axis = self.axis % len(self.shape)
        rows = self.shape[:axis] + self.shape[axis + 1 :]
        return np.random.default_rng(1).integers(0, self.classes, size=rows)


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("262144x10", (262144, 10), "digits, a large batch"),
        Problem("65536x100", (65536, 100), "a hundred classes"),
        Problem("8192x1000", (8192, 1000), "ImageNet classes"),
        Problem("1024x32000", (1024, 32000), "a vocabulary of 32 000"),
        Problem("256x128256", (256, 128256), "a vocabulary of 128 256"),
        Problem("images", (8, 21, 512, 512), "segmentation, classes on axis 1", axis=1),
        Problem("1024x32000 bfloat16", (1024, 32000), "the same in 16 bits", dtype="bfloat16"),
        Problem("1024x32000 float16", (1024, 32000), "the same in 16 bits", dtype="float16"),
        # scikit-learn clips probabilities below 1.2e-7: at scale 1 there are none, so the answers agree
        Problem("1000000x100", (1_000_000, 100), "probabilities of a large test set", scale=1.0),
    )
}

FLOAT32 = ("262144x10", "65536x100", "8192x1000", "1024x32000", "256x128256", "images")
HALVES = ("1024x32000 bfloat16", "1024x32000 float16")

# Which problems each function is measured on.
FUNCTIONS = {
    "softmax": FLOAT32 + HALVES,
    "log_softmax": FLOAT32,
    "logsumexp": FLOAT32,
    "cross_entropy": FLOAT32,
    "cross_entropy_grad": FLOAT32 + HALVES,
    "log_loss": ("1000000x100",),
    "softmax, autograd": FLOAT32,
    "cross_entropy, autograd": (*FLOAT32, "1024x32000 bfloat16"),
}


@dataclass(frozen=True)
class Demand:
    """`function` on `problem` is to be `ratio` times as fast as `peer`; a geometric mean is over float32."""

    function: str
    problem: str
    peer: str
    ratio: float


_TORCH = {
    "262144x10": 15,
    "65536x100": 2,
    "8192x1000": 2,
    "1024x32000": 1.3,
    "256x128256": 1.3,
    "images": 1,
}

DEMANDS = (
    *(Demand("softmax", name, "torch", ratio) for name, ratio in _TORCH.items()),
    *(Demand("softmax", name, "torch", 1.5) for name in HALVES),
    *(Demand("softmax", name, "scipy", 6) for name in FLOAT32),
    *(Demand("softmax", name, "memcpy", 0.8) for name in ("1024x32000", "256x128256")),
    *(Demand("log_softmax", name, "torch", ratio) for name, ratio in _TORCH.items()),
    *(Demand("logsumexp", name, "torch", ratio) for name, ratio in _TORCH.items()),
    *(Demand("logsumexp", name, "scipy", 15) for name in FLOAT32),
    *(Demand("cross_entropy", name, "torch", 4) for name in FLOAT32),
    *(Demand("cross_entropy_grad", name, "torch", 5) for name in FLOAT32),
    Demand("cross_entropy_grad", "geometric mean", "torch", 8),
    *(Demand("cross_entropy_grad", name, "torch", 3) for name in HALVES),
    Demand("log_loss", "1000000x100", "scikit-learn", 100),
    *(Demand("softmax, autograd", name, "torch", 1) for name in FLOAT32),
    Demand("softmax, autograd", "geometric mean", "torch", 1.3),
    *(Demand("cross_entropy, autograd", name, "torch", 4) for name in (*FLOAT32, "1024x32000 bfloat16")),
    Demand("cross_entropy, autograd", "geometric mean", "torch.compile", 1.5),
)


@dataclass(frozen=True)
class Limit:
    """A figure of its own, without a peer, that may be at most `most`."""

    name: str
    what: str
    most: float
    unit: str


LIMITS = (
    Limit("softmax of 3", "`softmax` of three numbers", 3, "us"),
    Limit("cross_entropy of 1x3", "`cross_entropy` of 1 x 3", 6, "us"),
    Limit("forward of 1x3", "`lastlayer.torch.cross_entropy` of 1 x 3, forward", 2, "x torch"),
    Limit("both ways of 1x3", "the same forward and backward", 1.5, "x torch"),
    Limit("autograd process", "the same of 2048 x 8000, memory beyond logits and 1.05 gradients", 0, "MB"),
    Limit("import", "`import lastlayer`, beyond NumPy's own", 80, "ms"),
    Limit("slow imports", "torch, SciPy, matplotlib imported by it", 0, "modules"),
    Limit("grad numpy", "`cross_entropy_grad`, NumPy memory beyond result and 64 bytes a row", 1, "MB"),
    Limit("grad process", "`cross_entropy_grad`, process memory beyond result and 64 bytes a row", 1, "MB"),
)
