"""The code that the explorer offers to copy runs, and prints the numbers that the explorer shows."""

import contextlib
import io

import explorer_rows as cases
import numpy as np
import pytest

RNG = np.random.default_rng(3)
ROWS = [
    cases.plain([0.1, 0.9, 4.0], 2),
    cases.plain([1000.0, 1001.0, 1002.0], 0),
    cases.plain([0.0, -np.inf], 0),
]
ROWS += [
    cases.with_options(RNG, list(map(float, RNG.normal(size=RNG.integers(1, 8)) * 3))) for _ in range(40)
]
ROWS += [cases.with_options(RNG, [0.5, -np.inf, 2.0]) for _ in range(8)]


def printed(code):
    """What a program prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), np.errstate(all="ignore"):
        exec(code, {})
    return out.getvalue()


def loss_of(output):
    return next(line for line in output.splitlines() if line.startswith("loss")).split()[1]


@pytest.mark.parametrize("library", ["NumPy", "PyTorch", "lastlayer"])
def test_the_code_prints_the_shown_loss_and_gradient(shared, library):
    if library == "PyTorch":
        pytest.importorskip("torch")
    for row in ROWS:
        found = shared.evaluate(
            """([row, library]) => {
              const shown = explorer.explain(row);
              const code = explorer.codes(row).find(([name]) => name === library)[1];
              return { code, loss: explorer.text(shown.loss), grad: shown.grad, p: shown.p };
            }""",
            [row, library],
        )
        output = printed(found["code"])
        assert float(loss_of(output)) == float(found["loss"]), found["code"] + output
        gradient = np.array(output.split("gradient [")[1].replace("]", " ").split(), float)
        np.testing.assert_allclose(gradient, found["grad"], rtol=1e-6, atol=1e-7, err_msg=found["code"])
