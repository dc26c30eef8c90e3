"""Rows of logits with options, random and extreme, as the explorer's state and as lastlayer's arguments."""

import numpy as np

INF = float("inf")

EXTREME = [
    [-INF, -INF], [INF, 0.0], [0.0, float("nan")],
    [0.0], [-1e300], [1e308], [-INF, 0.0], [0.0, -INF, -INF], [1e-300, -1e-300], [1e-300, 0.0, 2e-300],
    [1e308, -1e308], [1e308, 1e308, 0.0], [-1e308, -1e308], [1e308, np.nextafter(1e308, 0)],
    [5.0, 5.0, 5.0, 5.0], [0.0] * 10, [-0.0, 0.0], [1000.0, 1001.0, 1002.0], [-1000.0, -1001.0, -1002.0],
    [0.0, 20.0], [0.0, 36.7, 37.5], [0.0, 745.0], [0.0, -746.0], [0.0, 709.9, 710.0],
    [1e16, 1e16 + 2, 1e16 + 4],
    [0.1, 0.9, 4.0], [0.1, 0.9, 3.0], [2.0, 1.0, 0.1], [102.0, 101.0, 100.1], [1.0, 1.1, 2.5],
    [3.2, 0.2, 0.9],
]  # fmt: skip


def plain(logits, target):
    return {
        "logits": list(logits), "target": target, "dense": None, "temperature": 1.0, "softcap": None,
        "smoothing": 0.0, "weights": None,
    }  # fmt: skip


def with_options(rng, logits):
    """The row with some of the options."""
    v = len(logits)
    row = plain(logits, int(rng.integers(v)))
    # Where the temperature makes logits overflow, no formula is right.
    if rng.random() < 0.5 and not any(1e300 < abs(x) < INF for x in logits):
        row["temperature"] = float(10 ** rng.uniform(-1.3, 1.3))
    if rng.random() < 0.3:
        row["softcap"] = float(10 ** rng.uniform(-1, 2))
    if rng.random() < 0.4:
        row["smoothing"] = float(rng.choice([0.1, 0.5, 1.0, rng.random()]))
    if rng.random() < 0.4:
        row["weights"] = [float(w) for w in rng.choice([0.0, 1.0, 3.0, rng.random()], v)]
    if rng.random() < 0.4:
        q = rng.dirichlet(np.full(v, 0.5))
        row["dense"] = [float(x) for x in np.where(rng.random(v) < 0.3, 0.0, q)]
    return row


def rows(n_random=600):
    rng = np.random.default_rng(16)
    made = [plain(z, y) for z in EXTREME for y in range(len(z))]
    made += [with_options(rng, z) for z in EXTREME for _ in range(4)]
    for _ in range(n_random):
        scale = rng.choice([1e-300, 1e-8, 1.0, 3.0, 30.0, 700.0, 1e4, 1e307])
        z = rng.normal(size=rng.integers(1, 11)) * scale
        if rng.random() < 0.2:
            z[rng.random(len(z)) < 0.3] = -INF
        if np.isneginf(z).all():
            z[0] = 0.0
        made.append(with_options(rng, [float(x) for x in z]))
    return made


def arguments(row):
    """Target and options of `cross_entropy`."""
    dense, weights = row["dense"], row["weights"]
    target = row["target"] if dense is None else np.array(dense)
    options = {
        "temperature": row["temperature"], "softcap": row["softcap"], "label_smoothing": row["smoothing"],
        "class_weight": None if weights is None else np.array(weights),
    }  # fmt: skip
    return target, options
