"""The contenders: what each one runs for a function and a problem. `out=` is passed where it exists.

`contenders(...)` gives {name: callable without arguments}; what a callable returns is the answer that `check`
compares with float64 before anything is timed. The first is always lastlayer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
import torch
from problems import Problem
from sklearn.metrics import log_loss as sklearn_log_loss
from torch.nn.functional import cross_entropy as torch_cross_entropy

import lastlayer as ll
import lastlayer.torch as lt

__all__ = ["check", "contenders"]

Run = Callable[[], Any]


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """Share the array's memory with a tensor, bfloat16 too."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def contenders(function: str, problem: Problem, threads: int) -> dict[str, Run]:
    """Set up one measurement: the data, the results' memory, and what each contender runs."""
    x, axis = problem.scores(), problem.axis
    t = as_tensor(x)
    floats = x.dtype == np.float32  # SciPy and NumPy know no bfloat16, and take float16 for storage only
    if function in ("softmax", "log_softmax"):
        ours, theirs = np.zeros_like(x), as_tensor(np.zeros_like(x))
        mine, torchs = getattr(ll, function), getattr(torch, function)
        runs: dict[str, Run] = {
            "lastlayer": lambda: mine(x, axis=axis, out=ours),
            "torch": lambda: torchs(t, axis, out=theirs),
        }
        if floats:
            scipys = getattr(scipy.special, function)
            runs["scipy"] = lambda: scipys(x, axis=axis)
            runs["numpy"] = lambda: taught_softmax(x, axis, function == "log_softmax")
        runs["memcpy"] = lambda: np.copyto(ours, x)
        if threads > 1:
            runs["torch copy_"] = lambda: theirs.copy_(t)  # a memcpy of several threads
    elif function == "logsumexp":
        result = torch.zeros(tuple(np.delete(np.array(x.shape), axis)))
        runs = {
            "lastlayer": lambda: ll.logsumexp(x, axis=axis),
            "torch": lambda: torch.logsumexp(t, axis, out=result),
            "scipy": lambda: scipy.special.logsumexp(x, axis=axis),
            "numpy": lambda: taught_logsumexp(x, axis),
        }
    elif function == "log_loss":
        y, p = problem.targets(), np.asarray(ll.softmax(x, axis=axis))
        labels = np.arange(problem.classes)
        runs = {
            "lastlayer": lambda: ll.log_loss(p, y),
            "scikit-learn": lambda: sklearn_log_loss(y, p, labels=labels),
        }
    elif function == "cross_entropy":
        y = problem.targets()
        ty = torch.from_numpy(y)

        def forward() -> torch.Tensor:
            with torch.no_grad():
                return torch_cross_entropy(t, ty)

        runs = {"lastlayer": lambda: ll.cross_entropy(x, y, axis=axis), "torch": forward}
        if x.ndim == 2:
            runs["numpy"] = lambda: taught_loss(x, y)
    elif function == "softmax, autograd":
        upstream, leaf = as_tensor(upstream_of(x)), t.detach().requires_grad_()

        def through(function: Any) -> Run:
            return lambda: torch.autograd.grad(function(leaf, axis), leaf, upstream)[0]

        runs = {"lastlayer": through(lt.softmax), "torch": through(torch.softmax)}
    elif function == "cross_entropy, autograd":
        ty, leaf = torch.from_numpy(problem.targets()), t.detach().requires_grad_()

        def both_ways(function: Any) -> Run:
            def run() -> tuple[torch.Tensor, torch.Tensor]:
                loss = function(leaf, ty)
                return loss.detach(), torch.autograd.grad(loss, leaf)[0]

            return run

        torch._dynamo.reset()  # what was compiled for another shape or number of threads
        runs = {
            "lastlayer": both_ways(lt.cross_entropy),
            "torch": both_ways(torch_cross_entropy),
            "torch.compile": both_ways(torch.compile(torch_cross_entropy)),
        }
    else:
        y = problem.targets()
        ty = torch.from_numpy(y)
        leaf = t.detach().requires_grad_()

        def forward_backward() -> tuple[torch.Tensor, torch.Tensor]:
            loss = torch_cross_entropy(leaf, ty)
            return loss.detach(), torch.autograd.grad(loss, leaf)[0]

        runs = {"lastlayer": lambda: ll.cross_entropy_grad(x, y, axis=axis), "torch": forward_backward}
        if x.ndim == 2 and floats:
            runs["numpy"] = lambda: taught_gradient(x, y)
    check(function, problem, x, runs)
    return runs


def upstream_of(x: np.ndarray) -> np.ndarray:
    """What a loss sends back to a softmax: the same on every run."""
    return np.random.default_rng(2).standard_normal(x.shape, dtype=np.float32)


# ------------------------------ NumPy, as it is usually taught


def taught_softmax(x: np.ndarray, axis: int, log: bool) -> Any:
    shifted = x - x.max(axis=axis, keepdims=True)
    exps = np.exp(shifted)
    sums = exps.sum(axis=axis, keepdims=True)
    return shifted - np.log(sums) if log else exps / sums


def taught_logsumexp(x: np.ndarray, axis: int) -> Any:
    peak = x.max(axis=axis, keepdims=True)
    return np.squeeze(peak, axis) + np.log(np.exp(x - peak).sum(axis=axis))


def taught_loss(x: np.ndarray, y: np.ndarray) -> Any:
    return -taught_softmax(x, 1, log=True)[np.arange(len(y)), y].mean()


def taught_gradient(x: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray]:
    p = taught_softmax(x, 1, log=False)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    p /= len(y)
    return loss, p


# ------------------------------ the answers, before they are timed


def check(function: str, problem: Problem, x: np.ndarray, runs: dict[str, Run]) -> None:
    """Compare every contender's answer with float64, on up to 4 million entries; raise where it is wrong."""
    axis = problem.axis % x.ndim
    scores = np.moveaxis(x, axis, -1)
    count = min(problem.rows, max(16, 4_000_000 // problem.classes))
    index = np.unravel_index(np.linspace(0, problem.rows - 1, count).astype(np.int64), scores.shape[:-1])
    z = scores[index].astype(np.float64)
    with np.errstate(under="ignore"):
        lse = scipy.special.logsumexp(z, axis=1)
        log_p = z - lse[:, None]
    y = problem.targets()[index]
    truth: Any
    if function in ("softmax", "log_softmax"):
        truth = np.exp(log_p) if function == "softmax" else log_p
    elif function == "logsumexp":
        truth = lse
    elif function == "softmax, autograd":
        p, g = np.exp(log_p), np.moveaxis(upstream_of(x), axis, -1)[index].astype(np.float64)
        truth = p * (g - (p * g).sum(axis=1, keepdims=True))
    else:
        truth = np.exp(log_p)
        truth[np.arange(count), y] -= 1
        truth /= problem.rows
    half = x.dtype.itemsize == 2
    for name, run in runs.items():
        got = run()
        if name in ("memcpy", "torch copy_"):
            continue
        tolerance = (0.1 if half else 1e-4) if name != "lastlayer" else (4e-3 if half else 1e-6)
        with_gradient = function in ("cross_entropy_grad", "cross_entropy, autograd")
        if with_gradient or function in ("cross_entropy", "log_loss"):
            loss = got[0] if with_gradient else got
            np.testing.assert_allclose(
                float(loss), mean_loss(x, problem), rtol=1e-2 if half else 1e-5, err_msg=f"{function}: {name}"
            )
        if function in ("cross_entropy", "log_loss"):
            continue
        answer = got[1] if with_gradient else got
        answer = answer.detach().float().numpy() if isinstance(answer, torch.Tensor) else np.asarray(answer)
        part = answer[index] if function == "logsumexp" else np.moveaxis(answer, axis, -1)[index]
        if function == "logsumexp":
            scale = tolerance * np.abs(z).max(axis=1)  # near 0 it is a difference of the peak and a logarithm
        else:
            scale = max(tolerance * 10, 1e-6) if function == "log_softmax" else tolerance / problem.rows
            if function == "softmax, autograd":  # a difference of two terms of the size of p
                scale = tolerance * 4 * np.exp(log_p)
        if half:
            scale = 6e-8 * 2  # float16 holds nothing between 0 and 6e-8
        wrong = ~(np.abs(part.astype(np.float64) - truth) <= scale + tolerance * np.abs(truth))
        if wrong.any():
            raise AssertionError(f"{function}: {name} is wrong in {wrong.sum()} of {wrong.size} entries")


def mean_loss(x: np.ndarray, problem: Problem) -> float:
    """Compute the mean cross-entropy in float64, a slice of the rows at a time."""
    y, axis, total = problem.targets(), problem.axis % x.ndim, 0.0
    step = max(1, 4_000_000 * x.shape[0] // x.size)
    for start in range(0, x.shape[0], step):
        z = np.moveaxis(x[start : start + step], axis, -1).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lse = scipy.special.logsumexp(z, axis=-1)
        total += float((lse - np.take_along_axis(z, y[start : start + step, ..., None], -1)[..., 0]).sum())
    return total / problem.rows
