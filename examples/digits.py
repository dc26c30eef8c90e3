"""Train a softmax classifier on handwritten digits, and compare each number with those of other libraries.

Run by ``make demo``; ends in a report. Needs NumPy, SciPy, scikit-learn, matplotlib and Jinja2; torch joins
the comparison where it is installed. Exits with status 1 if the numbers disagree.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

# All are timed on the same number of threads: one, unless the caller says otherwise.
THREADS = int(os.environ.setdefault("LASTLAYER_NUM_THREADS", "1"))

import lastlayer as ll  # noqa: E402  # it reads the variable above when imported
from lastlayer.sklearn import SoftmaxClassifier  # noqa: E402

INK = " .:-=+*#%@"  # 0 to 9 units of ink, lightest first


class Digits(NamedTuple):
    """Pixels between 0 and 1, and the digit that each picture shows."""

    x_train: np.ndarray  # (n, 64) float32
    x_test: np.ndarray  # (m, 64) float32
    y_train: np.ndarray  # (n,) int64
    y_test: np.ndarray  # (m,) int64


def load() -> Digits:
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    return Digits(
        *train_test_split(pixels, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
    )


def train(digits: Digits, repeats: int) -> tuple[SoftmaxClassifier, LogisticRegression]:
    """Fit both classifiers to the same tolerance, and print how good and how fast they are."""
    x, y = digits.x_train, digits.y_train
    models = {
        "lastlayer SoftmaxClassifier": SoftmaxClassifier(random_state=0),
        "sklearn LogisticRegression": LogisticRegression(max_iter=1000),  # for C = 1 and tol = 1e-4, as ours
    }
    print(f"  {'':29}{'objective':>11}{'gradient':>10}{'accuracy':>10}{'time':>12}")
    ours = None
    for name, model in models.items():
        with threadpool_limits(THREADS):
            took = seconds(lambda model=model: model.fit(x, y), repeats)
        slower = "" if ours is None else f"   {took / ours:.1f}x our time"
        ours = ours or took
        loss, norm = objective(x, y, model.coef_, model.intercept_)
        accuracy = f"{(model.predict(digits.x_test) == digits.y_test).mean():.2%}"
        print(f"  {name:29}{loss:>11.6f}{norm:>10.1e}{accuracy:>10}{took * 1e3:>9.2f} ms{slower}")
    return tuple(models.values())


def objective(x: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> tuple[float, float]:
    """Return what both minimize, for C = 1, and the largest entry of its gradient, in float64."""
    x, coef = x.astype(np.float64), coef.astype(np.float64)
    losses, residuals = exact(x @ coef.T + intercept, y)  # the residuals are divided by n
    gradient = np.concatenate([residuals.T @ x + coef / y.size, residuals.sum(axis=0)[:, None]], axis=1)
    return float(losses.mean() + (coef**2).sum() / (2 * y.size)), float(np.abs(gradient).max())


def show_mistakes(x: np.ndarray, y: np.ndarray, logits: np.ndarray, count: int = 3) -> None:
    """Draw the wrong predictions of the highest confidence, side by side."""
    labels, confidence = ll.predict(logits)
    wrong = np.flatnonzero(labels != y)
    worst = wrong[np.argsort(-confidence[wrong])][:count]
    if not worst.size:
        print("  no mistakes at all")
        return
    probabilities = ll.softmax(logits[worst])  # (count, 10)
    captions = [
        f"said {labels[row]} ({confidence[row]:.1%}), is {y[row]} ({probabilities[k, y[row]]:.1%})"
        for k, row in enumerate(worst)
    ]
    pictures = [picture(x[row]) for row in worst]
    print("  " + "".join(f"{caption:<30}" for caption in captions).rstrip())
    for lines in zip(*pictures, strict=True):
        print("  " + "".join(f"{line:<30}" for line in lines).rstrip())


def picture(pixels: np.ndarray) -> list[str]:
    """Return eight lines, two characters a pixel, since a character is about twice as high as it is wide."""
    shades = np.rint(pixels.reshape(8, 8) * (len(INK) - 1)).astype(int)
    return ["".join(INK[shade] * 2 for shade in row) for row in shades]


class Peer(NamedTuple):
    """One way to compute a quantity."""

    name: str
    run: Callable[[], Any]


def losses(logits: np.ndarray, y: np.ndarray) -> list[Peer]:
    """Give the ways from logits to the mean loss, ours first."""
    rows = np.arange(y.size)
    peers = [
        Peer("lastlayer.cross_entropy", lambda: ll.cross_entropy(logits, y)),
        Peer(
            "scipy.special.log_softmax, mean",
            lambda: -scipy.special.log_softmax(logits, axis=1)[rows, y].mean(),
        ),
        Peer(
            "scipy.special.softmax, sklearn log_loss",
            lambda: log_loss(y, scipy.special.softmax(logits, axis=1), labels=np.arange(10)),
        ),
    ]
    if has_torch():
        import torch

        tensor, targets = torch.from_numpy(logits), torch.from_numpy(y)
        peers.append(
            Peer("torch cross_entropy", lambda: float(torch.nn.functional.cross_entropy(tensor, targets)))
        )
    return peers


def gradients(logits: np.ndarray, y: np.ndarray) -> list[Peer]:
    """Give the ways from logits to the mean loss's gradient, ours first."""
    rows = np.arange(y.size)

    def composed() -> np.ndarray:
        gradient = scipy.special.softmax(logits, axis=1)
        gradient[rows, y] -= 1
        gradient /= y.size
        return gradient

    peers = [
        Peer("lastlayer.cross_entropy_grad", lambda: ll.cross_entropy_grad(logits, y)[1]),
        Peer("scipy.special.softmax, minus one-hot", composed),
    ]
    if has_torch():
        import torch

        tensor, targets = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(y)

        def backward() -> np.ndarray:
            loss = torch.nn.functional.cross_entropy(tensor, targets)
            return torch.autograd.grad(loss, tensor)[0].numpy()

        peers.append(Peer("torch cross_entropy, backward", backward))
    return peers


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def threads() -> str:
    return f"{THREADS} thread{'s' if THREADS > 1 else ''}"


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, of as many as are asked for or fit into a fifth of a second."""
    run()  # not counted
    times: list[float] = []
    while len(times) < repeats or (repeats > 1 and sum(times) < 0.2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def compare(title: str, peers: list[Peer], truth: Any, repeats: int) -> bool:
    """Print a table of value, error and time, and say whether all peers agree to five digits."""
    print(f"  {title}")
    print(f"  {'':40}{'value':>13}{'error':>10}{'time':>12}")
    agree, ours = True, None
    scale = float(np.max(np.abs(truth)))
    for peer in peers:
        value = np.asarray(peer.run(), dtype=np.float64)
        error = float(np.max(np.abs(value - truth))) / scale
        agree &= error < 1e-5
        took = seconds(peer.run, repeats)
        ours = took if ours is None else ours
        shown = f"{float(value):.8f}" if value.ndim == 0 else "x".join(map(str, value.shape))
        slower = "" if peer is peers[0] else f"   {took / ours:.1f}x our time"
        print(f"  {peer.name:40}{shown:>13}{error:>10.1e}{took * 1e3:>9.3f} ms{slower}")
    print()
    return agree


def show_row_errors(logits: np.ndarray, y: np.ndarray, truth: np.ndarray) -> None:
    """Print how far the loss of a single row can be off: the mean hides what happens to confident rows."""
    rows = np.arange(y.size)
    ways = {
        "lastlayer.cross_entropy": ll.cross_entropy(logits, y, reduction="none"),
        "scipy.special.log_softmax": -scipy.special.log_softmax(logits, axis=1)[rows, y],
    }
    if has_torch():
        import torch

        tensor, targets = torch.from_numpy(logits), torch.from_numpy(y)
        ways["torch cross_entropy"] = torch.nn.functional.cross_entropy(
            tensor, targets, reduction="none"
        ).numpy()
    print(f"  loss of each of {y.size} rows, the smallest {truth.min():.1e}")
    print(f"  {'':40}{'':13}{'error':>10}   of the row it is largest for")
    for name, values in ways.items():
        print(f"  {name:53}{np.max(np.abs(values / truth - 1)):>10.1e}")
    print()


def exact(logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return losses (n,) and the gradient (n, 10) of their mean in float64, the yardstick of all errors."""
    z = logits.astype(np.float64)
    rows = np.arange(y.size)
    shifted = z - z.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    gradient = exponentials / sums
    gradient[rows, y] -= 1
    return np.log(sums[:, 0]) - shifted[rows, y], gradient / y.size


def show_calibration(logits: np.ndarray, y: np.ndarray) -> tuple[ll.Evaluation, ll.Evaluation]:
    """Fit a temperature to one half of the held-out rows, and evaluate the other half before and after."""
    half = y.size // 2
    t = ll.fit_temperature(logits[:half], y[:half])
    print(f"  {t}, from {half} rows: these logits are {'over' if t.value > 1 else 'under'}confident")
    before = ll.evaluate(logits[half:], y[half:])
    after = ll.evaluate(logits[half:], y[half:], temperature=t)
    print(f"  {f'the other {y.size - half} rows':28}{'before':>28}{'after':>28}")
    for name in ("log_loss", "accuracy", "brier", "mean_confidence", "ece"):
        values = [getattr(found, name) for found in (before, after)]
        shown = [
            f"{v:.4f}" if isinstance(v, float) else f"{v:.4f} [{v.low:.4f}, {v.high:.4f}]" for v in values
        ]
        print(f"  {name:28}{shown[0]:>28}{shown[1]:>28}")
    print()
    return before, after


def show_comparison(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> ll.Comparison:
    """Compare the logits of both classifiers on the same rows."""
    found = ll.compare(a, b, y)
    print(f"  {f'{found.n} rows':28}{'lastlayer':>12}{'sklearn':>12}   difference, 95 %")
    for name in ("log_loss", "accuracy", "brier"):
        ours, theirs, d = getattr(found, name)
        print(f"  {name:28}{ours:>12.4f}{theirs:>12.4f}   {d:+.5f} [{d.low:+.5f}, {d.high:+.5f}]")
    alone, p = found.flips[:2], found.mcnemar
    print(f"  right in one alone: {alone[0]} and {alone[1]} rows; McNemar's exact test: p = {p:.2g}\n")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=262_144, help="rows of the large batch (default 262144)")
    parser.add_argument(
        "--repeats", type=int, default=7, help="fewest calls that a time is the median of (default 7)"
    )
    parser.add_argument(
        "--report", default="digits-report.html", help="the HTML file that is written (default %(default)s)"
    )
    options = parser.parse_args(argv)

    digits = load()
    print(f"\nHandwritten digits: {len(digits.y_train)} to learn from, {len(digits.y_test)} held out.\n")
    print(f"Training: mean cross-entropy + |W|^2 / 2n, to a gradient of 1e-4, on {threads()}")
    model, other = train(digits, options.repeats)
    print()

    logits = model.decision_function(digits.x_test)  # (m, 10) float32
    labels, _ = ll.predict(logits)
    right = int((labels == digits.y_test).sum())
    print("Held out")
    loss = ll.cross_entropy(logits, digits.y_test)
    print(f"  loss      {loss:.6f} nats (a uniform guess: {math.log(10):.6f})")
    print(f"  accuracy  {right / labels.size:.2%} ({right} of {labels.size})\n")
    print("The most confident mistakes")
    show_mistakes(digits.x_test, digits.y_test, logits)

    print("\nThe same numbers from other libraries")
    print("  error: the largest difference from float64, as a share of the largest value")
    print(f"  time: the median call, on {threads()}\n")
    if has_torch():
        import torch

        torch.set_num_threads(THREADS)
    else:
        print("  torch is not installed, so it is not in these tables: pip install torch\n")
    # The large batch: rows drawn from the training logits, moved a little so that no two are the same.
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(digits.y_train), options.rows)
    large = model.decision_function(digits.x_train)[drawn] + random.normal(0, 0.1, (options.rows, 10)).astype(
        np.float32
    )
    agree = True
    for z, y in ((logits, digits.y_test), (large, digits.y_train[drawn])):
        true_losses, gradient = exact(z, y)
        agree &= compare(f"mean loss of {y.size} rows", losses(z, y), true_losses.mean(), options.repeats)
        agree &= compare(f"gradient of {y.size} rows", gradients(z, y), gradient, options.repeats)
        show_row_errors(z, y, true_losses)
    print("Evaluation of the held-out rows, before and after calibration")
    before, after = show_calibration(logits, digits.y_test)
    print("Beside scikit-learn's classifier, on the same rows")
    half = digits.y_test.size // 2
    comparison = show_comparison(
        logits[half:], other.decision_function(digits.x_test)[half:], digits.y_test[half:]
    )
    title = "Handwritten digits, before and after calibration"
    after.save_html(options.report, before=before, comparison=comparison, title=title)
    print(f"The report, with pictures:\n  {os.path.abspath(options.report)}\n")
    print("All numbers agree to five digits." if agree else "The numbers do NOT agree to five digits.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
