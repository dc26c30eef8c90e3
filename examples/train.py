"""Train a small model in PyTorch, with its own cross-entropy or with lastlayer's in its place.

``digits`` is a convolutional network that reads handwritten digits. ``characters`` is a transformer that
learns Python's own standard library, character by character. ``tokens`` learns it in 32 000 tokens, as
language models do: there the last layer is most of the work, and with lastlayer its logits are not made.
Nothing is downloaded.

    python examples/train.py characters --loss torch

`compare_training.py` trains each model with both losses. Needs torch; digits needs scikit-learn, and tokens
needs tokenizers.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import lastlayer.torch

LOSSES = {"torch": torch.nn.CrossEntropyLoss, "lastlayer": lastlayer.torch.CrossEntropyLoss}


class Task(NamedTuple):
    """A model and what it learns from."""

    model: nn.Module  # inputs -> logits (rows, classes)
    batch: Callable[[], tuple[Tensor, Tensor]]  # the next inputs and their targets (rows,)
    held_out: tuple[Tensor, Tensor]  # inputs and targets that no batch holds
    rate: float  # of learning
    large: bool = False  # whether there are many classes: then the head counts as a part of the loss


def digits() -> Task:
    """Make a convolutional network for 8 x 8 pictures of 10 digits."""
    from sklearn.datasets import load_digits

    pictures = load_digits()
    x = torch.tensor(pictures.images / 16, dtype=torch.float32)[:, None]  # (1797, 1, 8, 8)
    y = torch.tensor(pictures.target)
    # GELU and the mean are smooth. At a kink, as ReLU and the maximum have them, one rounding can choose the
    # other slope, and two runs part that differ in nothing else.
    model = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )

    def batch() -> tuple[Tensor, Tensor]:
        rows = torch.randint(1400, (64,))
        return x[rows], y[rows]

    return Task(model, batch, (x[1400:], y[1400:]), rate=1e-2)


class Transformer(nn.Module):
    """Logits of the next character or token, after each of a text."""

    def __init__(self, classes: int, context: int, width: int = 128, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.position = nn.Parameter(torch.randn(context, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))  # (windows * context, classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.embedding(x) + self.position  # (windows, context, width)
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        return self.norm(x).flatten(0, 1)  # (windows * context, width)


def characters(context: int = 64, length: int = 500_000) -> Task:
    """Make a transformer for the next character of Python's standard library."""
    text = standard_library(length)
    alphabet = sorted(set(text))
    index = {character: i for i, character in enumerate(alphabet)}
    codes = torch.tensor([index[character] for character in text])
    return of_text(codes, len(alphabet), context)


def tokens(context: int = 64, length: int = 4_000_000, vocabulary: int = 32_000) -> Task:
    """Make a transformer for the next token of Python's standard library, the tokens learnt from it too."""
    command = [sys.executable, str(Path(__file__).with_name("tokenise.py")), str(vocabulary)]
    text = standard_library(length).encode()
    output = subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE).stdout
    (classes,), codes = np.split(np.frombuffer(output, dtype=np.int32), [1])
    return of_text(torch.tensor(codes, dtype=torch.int64), int(classes), context)._replace(large=True)


def of_text(codes: Tensor, classes: int, context: int) -> Task:
    """Make a transformer for the next code of a text."""
    learnt = len(codes) * 9 // 10

    def windows(starts: Tensor) -> tuple[Tensor, Tensor]:
        x = codes[starts[:, None] + torch.arange(context + 1)]
        return x[:, :-1], x[:, 1:].flatten()  # each code's target is the one after it

    def batch() -> tuple[Tensor, Tensor]:
        return windows(torch.randint(learnt - context, (16,)))

    held_out = windows(torch.arange(learnt, len(codes) - context, (len(codes) - learnt) // 50))
    return Task(Transformer(classes, context), batch, held_out, rate=3e-3)


def standard_library(length: int) -> str:
    """Return so many characters of Python's standard library, its modules in alphabetical order."""
    text = ""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        text += path.read_text(encoding="utf-8")
        if len(text) >= length:
            break
    return text[:length]


# With the steps to train each.
TASKS = {"digits": (digits, 400), "characters": (characters, 300), "tokens": (tokens, 60)}


def train(name: str, criterion: nn.Module, steps: int, say: Callable[[str], Any]) -> dict[str, Any]:
    """Train a model and return its losses, and what they took."""
    torch.manual_seed(0)  # the same model and the same batches, whatever the loss
    model, batch, held_out, rate, large = TASKS[name][0]()
    if large and isinstance(criterion, lastlayer.torch.CrossEntropyLoss):
        # The loss will not need the logits, and be computed in 64 MB.
        model.head = lastlayer.torch.LinearHead.of(model.head, max_memory=64e6)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    optimizer.zero_grad()  # its first call imports modules: before the measuring begins
    losses, seconds, memory = [], [], peak_memory()
    for step in range(1, steps + 1):
        start = time.perf_counter()
        x, y = batch()
        loss = criterion(model(x), y)  # logits and class indices: no softmax before, no one-hot rows
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
        if step == 1 or step % max(steps // 5, 1) == 0:
            say(f"  step {step:5d}   loss {losses[-1]:.6f}")
    peak = peak_memory()

    if large:
        alone = seconds_of_loss(lambda features: criterion(model.head(features), y), model.features(x))
    else:
        alone = seconds_of_loss(lambda logits: criterion(logits, y), model(x))
    shape = [len(y), model(x[:1]).shape[1]]
    with torch.no_grad():
        x, labels = held_out
        predicted = model(x)
    return {
        "losses": losses,
        "held_out": criterion(predicted, labels).item(),
        "accuracy": (predicted.argmax(dim=1) == labels).float().mean().item(),
        "seconds": sum(seconds),
        "step": statistics.median(seconds),
        "loss_alone": alone,
        "peak": peak,
        "growth": peak - memory,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "logits": shape,
        "threads": torch.get_num_threads(),
    }


def seconds_of_loss(loss: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Return the median time of a loss and its gradients, of 100 or of what fits into two seconds."""
    seconds: list[float] = []
    while len(seconds) < 100 and sum(seconds) < 2:
        x = x.detach().requires_grad_()
        start = time.perf_counter()
        loss(x).backward()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_memory() -> int:
    """Return the most bytes that this process has held so far, whoever allocated them."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--loss", choices=LOSSES, default="lastlayer", help="whose (default: lastlayer)")
    parser.add_argument("--steps", type=int, help="how many (default: " + defaults() + ")")
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; more gain little here (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print what is measured, and nothing else")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    say = (lambda _: None) if options.json else print
    steps = TASKS[options.task][1] if options.steps is None else options.steps
    result = train(options.task, LOSSES[options.loss](), steps, say)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"  held out       loss {result['held_out']:.6f}, {result['accuracy']:.1%} right")
    return 0


def defaults() -> str:
    return ", ".join(f"{steps} for {name}" for name, (_, steps) in TASKS.items())


if __name__ == "__main__":
    sys.exit(main())
