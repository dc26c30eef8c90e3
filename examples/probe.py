"""A linear probe: classify digits by the embeddings of a network that never saw a label.

A small convolutional network learns by how many quarter turns a picture was rotated. Its embeddings go into a
float16 file, batch by batch. A softmax classifier is fitted to the file where it is, calibrated on rows that
it was not fitted to, and evaluated on others. Needs torch and the extra ``[sklearn]``:

    python examples/probe.py --folder embeddings
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits

import lastlayer as ll
from lastlayer.sklearn import SoftmaxClassifier

BATCH = 64
PARTS = {"train": slice(0, 1000), "held out": slice(1000, 1300), "test": slice(1300, None)}


class Probed(NamedTuple):
    """What a probe found."""

    model: SoftmaxClassifier
    result: ll.Evaluation  # of the rows of the test


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the embeddings are kept; default: nowhere")
    parser.add_argument("--epochs", type=int, default=8, help="of learning to tell rotations, 1 or more")
    options = parser.parse_args(argv)
    if options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(Path(folder), options.epochs)
    options.folder.mkdir(parents=True, exist_ok=True)
    return run(options.folder, options.epochs)


def run(folder: Path, epochs: int) -> int:
    pixels, labels = load()
    body, accuracy = train(pixels[PARTS["train"]], epochs)
    print(f"a network that tells rotations: {accuracy:.1%} right in its last epoch")
    write(folder / "embeddings.npy", body, pixels)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "pixels.npy", pixels.reshape(len(pixels), -1))
    for name in ("pixels", "embeddings"):
        features = np.load(folder / f"{name}.npy", mmap_mode="r")
        found = probe(features, labels)
        found.model.save(folder / f"{name}.safetensors")
        t, r = found.model.temperature_, found.result
        print(f"\n{name}: {features.shape[1]} features of {features.dtype}, {features.nbytes / 1e6:.1f} MB")
        print(f"  fitted in {found.model.n_iter_} steps, calibrated by {t}")
        print(f"  accuracy {r.accuracy}, log-loss {r.log_loss}, ECE {r.ece:.4f}")
    return 0


def load() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 1, 8, 8) between 0 and 1, and the digits that they show, in a fixed random order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.images[order, None] / 16).astype(np.float32), digits.target[order]


def network() -> torch.nn.Module:
    """Pictures (n, 1, 8, 8) to embeddings (n, 256)."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
    )  # fmt: skip


def train(pixels: np.ndarray, epochs: int) -> tuple[torch.nn.Module, float]:
    """A network that tells by how many quarter turns a picture is rotated; and how often it was right."""
    torch.manual_seed(0)
    body, head = network(), torch.nn.Linear(256, 4)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=2e-3)
    pictures, right = torch.from_numpy(pixels), 0.0
    turned = torch.stack([torch.rot90(pictures, k, (2, 3)) for k in range(4)])
    for _ in range(epochs):
        right = 0.0
        for rows in torch.randperm(len(pictures)).split(BATCH):
            turns = torch.randint(4, (len(rows),))
            logits = head(body(turned[turns, rows]))
            loss = torch.nn.functional.cross_entropy(logits, turns)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += float((logits.argmax(1) == turns).sum())
    return body.eval(), right / len(pictures)


def write(path: Path, body: torch.nn.Module, pixels: np.ndarray) -> None:
    """Write the embeddings of all pictures as float16, of which only a batch is in memory."""
    out = np.lib.format.open_memmap(path, "w+", np.float16, (len(pixels), 256))
    with torch.no_grad():
        for at in range(0, len(pixels), BATCH):
            out[at : at + BATCH] = body(torch.from_numpy(pixels[at : at + BATCH])).numpy()
    out.flush()


def probe(features: np.ndarray, labels: np.ndarray) -> Probed:
    """A classifier of the features, calibrated and evaluated. Slices of a mapped file are not copied."""
    train, held_out, test = PARTS.values()
    model = SoftmaxClassifier(C=1.0, random_state=0).fit(features[train], labels[train])
    model.calibrate(features[held_out], labels[held_out])
    logits = model.decision_function(features[test])
    return Probed(model, ll.evaluate(logits, labels[test], temperature=model.temperature_))


if __name__ == "__main__":
    raise SystemExit(main())
