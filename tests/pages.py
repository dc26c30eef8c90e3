"""Evaluations of many shapes, of which the tests of pictures and reports make pages."""

from __future__ import annotations

import numpy as np

import lastlayer as ll

HOSTILE = [
    "<script>window.hit = 1</script>", '"><img src=x onerror="window.hit = 1">', "{{ 7 * 7 }}",
    "$x^2$ \\frac", "a\nb\tc", "\x00\x1b[31m", "\ud800", "ش" * 40, "🙂" * 30, "n" * 300,
    "</title></svg></style>", "&amp; &lt;",
]  # fmt: skip


def scores(n, v, seed=0, scale=3.0):
    """Logits and labels that agree about as well as the logits are sure."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, v)) * scale
    return z, (z + rng.gumbel(size=z.shape)).argmax(1)


def of(n, v, **options):
    """The evaluation of random scores."""
    return ll.evaluate(*scores(n, v), **options)


def blocks(n, v, block, seed=0):
    """Scores whose classes are confused within blocks, their places mixed."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, v, n)
    place = rng.permutation(v)
    z = rng.normal(size=(n, v)).astype(np.float32)
    near = (place[None, :] // block) == (place[y] // block)[:, None]
    z += 4 * near
    z[np.arange(n), y] += 1
    return z, y


def all_ignored():
    """No row counts."""
    return ll.evaluate(scores(20, 4)[0], np.full(20, -100))


def two_classes():
    """One logit a row."""
    z = scores(90, 1)[0][:, 0]
    return ll.evaluate(z, (np.arange(90) % 3 == 0).astype(int), binary=True)


def with_nan():
    """Rows with NaN count as wrong and make the loss NaN."""
    z, y = scores(60, 4)
    z[::7, 1] = np.nan
    return ll.evaluate(z, y)


def named():
    """Classes whose names are text that a careless page would take for something else."""
    z, y = scores(200, len(HOSTILE))
    return ll.evaluate(z, [HOSTILE[k] for k in y], labels=HOSTILE, kind="logits")


def long_names():
    """Names of 540 characters, with and without spaces; labels that are no class."""
    z, y = scores(120, 4)
    names = ["word0 " * 90, "word1 " * 90, "x" * 540, "y" * 540]
    labels = [names[k] for k in y]
    labels[3] = "z" * 540
    return ll.evaluate(z, labels, labels=names, unknown="wrong")


CASES = {
    "ten": lambda: of(400, 10),
    "two": lambda: of(100, 2),
    "one": lambda: of(30, 1),
    "binary": two_classes,
    "ignored": all_ignored,
    "nan": with_nan,
    "infinite": lambda: ll.evaluate([[0.0, 1.0], [-np.inf, 1.0]], [1, 0]),
    "weights": lambda: of(200, 5, sample_weight=np.linspace(0, 2, 200)),
    "groups": lambda: of(200, 12, groups=np.array(HOSTILE, dtype=object)[np.arange(200) % 5], classwise=True),
    "positions": lambda: ll.evaluate(*(a.reshape(20, 10, *a.shape[1:]) for a in scores(200, 6))),
    "names": named,
    "long": long_names,
    "thousand": lambda: ll.evaluate(*blocks(6000, 1000, 20)),
    "never": lambda: ll.evaluate(
        [[3.0, 0, 0], [3.0, 0, 0], [0, 0, 2.0]], ["b", "c", "a"], labels=["b", "c", "a"]
    ),
    "both": lambda: of(400, 10),
}


def both():
    """What stands beside the evaluation of that name: another temperature, and another model."""
    z, y = scores(400, 10)
    other = z + scores(400, 10, seed=1, scale=0.5)[0]
    groups = np.arange(400) % 3
    return {"before": of(400, 10, temperature=2.0), "comparison": ll.compare(z, other, y, groups=groups)}


BESIDE = {"both": both}
