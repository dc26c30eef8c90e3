"""The explorer's numbers against lastlayer's in float64, and its float32 against NumPy's."""

import explorer_rows as cases
import numpy as np

import lastlayer as ll

ROWS = cases.rows()


def close(found, expected, of, tolerance=1e-12):
    """Equal to ``tolerance``, relative to ``of``; NaN and infinities have to agree."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    error = np.abs(found[finite] - expected[finite])
    # Numbers below the smallest normal one have fewer digits.
    allowed = tolerance * np.abs(np.broadcast_to(of, expected.shape)[finite]) + np.finfo(float).tiny
    return (error <= allowed).all()


def test_the_page_computes_what_lastlayer_computes(shared):
    assert len(ROWS) >= 500
    found = shared.evaluate("rows => rows.map((row) => explorer.explain(row))", ROWS)
    for row, shown in zip(ROWS, found, strict=True):
        agree(row, shown)


@np.errstate(over="ignore")  # 1e308 / 0.1, cosh(1000)
def agree(row, shown):
    """Every number of a row."""
    z, (target, options) = np.array(row["logits"]), cases.arguments(row)
    temperature, cap = options["temperature"], options["softcap"]
    capped = z if cap is None else cap * np.tanh(z / cap)
    p = ll.softmax(capped, temperature=temperature)
    assert close(shown["p"], p, p), row
    stats = ll.row_stats(z, temperature=temperature, softcap=cap)
    lse, entropy = stats.lse, stats.entropy
    # peak + log1p(rest) cancels where lse is near 0: relative to its terms there.
    assert close(shown["lse"], lse, max(abs(lse), abs(shown["peak"]))), row
    assert close(shown["entropy"], entropy, entropy), row
    loss, grad = ll.cross_entropy_grad(z, target, **options, reduction="sum")
    assert close(shown["loss"], loss, loss), row
    # mass p - t cancels where a target is between 0 and the mass: relative to the larger term there.
    t, steep = np.array(shown["t"]), 1 / temperature / (1 if cap is None else np.cosh(z / cap) ** 2)
    shared_out = (t > 0) & (row["dense"] is not None or row["smoothing"] > 0)
    terms = np.where(shared_out, np.maximum(t, t.sum() * p) * steep, np.abs(grad))
    assert close(shown["grad"], grad, terms), row


def test_sigmoid(shared):
    d = [0.0, 1e-300, 5.0, -5.0, 40.0, -40.0, 800.0, -800.0]
    found = shared.evaluate("d => d.map((x) => explorer.sigmoid(x))", d)
    assert close(found, [ll.softmax([0.0, x])[1] for x in d], found)


def ulps(found, expected):
    """How many float32 numbers lie between two arrays; 0 between two NaN."""

    def position(x):
        bits = np.asarray(x, np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    both = np.isnan(found) & np.isnan(expected)
    assert (np.isnan(found) == np.isnan(expected)).all()
    return np.where(both, 0, np.abs(position(found) - position(expected)))


def test_naive_float32_is_numpy_s(shared):
    """Each step from the page's own numbers before it: exp and log within 2 ULP, the rest bit for bit."""
    rng = np.random.default_rng(5)
    made = [z for z in cases.EXTREME if np.isfinite(z).all() and np.abs(z).max() < 3e38]
    made += [list(rng.normal(size=rng.integers(1, 11)) * rng.choice([1, 10, 60])) for _ in range(600)]
    made += [[0.0, float(x)] for x in np.linspace(-120, 100, 441)]
    pairs = [(z, int(rng.integers(len(z)))) for z in made]
    found = shared.evaluate("pairs => pairs.map(([z, y]) => explorer.naive(z, y))", pairs)
    with np.errstate(all="ignore"):
        for (logits, y), shown in zip(pairs, found, strict=True):
            f = {name: np.array(value, np.float32) for name, value in shown.items()}
            np.testing.assert_array_equal(f["z"], np.array(logits, np.float32))
            assert (ulps(f["exp"], np.exp(f["z"])) <= 2).all(), logits
            assert f["total"] == f["exp"].sum() or np.isnan(f["total"]), logits
            np.testing.assert_array_equal(f["p"], f["exp"] / f["total"])
            assert ulps(f["loss"], -np.log(f["p"][y])) <= 2, logits
            one_hot = np.eye(len(logits), dtype=np.float32)[y]
            chain = (np.float32(-1) / f["p"][y]) * (f["p"][y] * (one_hot - f["p"]))
            np.testing.assert_array_equal(f["grad"], chain)
