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


def number(output, name):
    return float(next(line for line in output.splitlines() if line.startswith(name)).split()[1])


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
        assert number(output, "loss") == float(found["loss"]), found["code"] + output
        gradient = np.array(output.split("gradient [")[1].replace("]", " ").split(), float)
        np.testing.assert_allclose(gradient, found["grad"], rtol=1e-6, atol=1e-7, err_msg=found["code"])


NUMBERS = [
    ([0.1, 0.9, 4.0], 2),
    ([0.0, 89.0], 1),
    ([1000.0, 1001.0, 1002.0], 2),
    ([0.0, 20.0], 1),
    ([0.0, 14.0], 1),
]
NUMBERS += [([0.0, -104.0], 1), ([-120.0, -121.0], 0), ([3.0, -2.0, 5.0, 1.0], 1)]


@pytest.mark.parametrize("library", ["NumPy", "PyTorch", "lastlayer"])
def test_the_code_of_numbers_prints_both_losses(shared, library):
    if library == "PyTorch":
        pytest.importorskip("torch")
    for logits, target in NUMBERS:
        code, textbook, stable = shared.evaluate(
            """([logits, target, library]) => [
              explorer.numbersCodes({ logits, target }).find(([name]) => name === library)[1],
              explorer.naive(logits, target).loss, explorer.explain({ logits, target }).loss]""",
            [logits, target, library],
        )
        output = printed(code)
        # exp and log of float32 are within 2 ULP of each other; of a loss near 0, p near 1 has these.
        np.testing.assert_allclose(number(output, "textbook"), textbook, rtol=1e-6, atol=3e-7)
        assert (number(output, "textbook") == 0) == (textbook == 0)
        # The program's logits are float32.
        np.testing.assert_allclose(number(output, "stable"), stable, rtol=1e-6)


def test_the_code_of_a_mistake_prints_the_wrong_and_the_right_loss(shared):
    pytest.importorskip("torch")
    mistakes = shared.evaluate("""() => Object.keys(explorer.MISTAKES).flatMap((name) =>
      [explorer.GOOD, explorer.BAD].map((z) => ({ z, name, codes: explorer.mistakeCodes(name, z),
        wrong: explorer.MISTAKES[name].wrong(z, explorer.TARGETS).loss,
        right: explorer.MISTAKES[name].right(z, explorer.TARGETS).loss })))""")
    assert len(mistakes) == 10
    for one in mistakes:
        for library, code in one["codes"]:
            output = printed(code)
            for name in ("wrong", "right"):
                np.testing.assert_allclose(
                    number(output, name), one[name], rtol=1e-6, err_msg=f"{library}: {code}"
                )


@pytest.mark.parametrize("product", [False, True])
def test_the_code_of_training_prints_the_loss(shared, product):
    pytest.importorskip("torch")
    codes, loss, right = shared.evaluate(
        """product => {
          const state = { set: "xor", points: null, product, rate: 0.7, step: 0, weights: null };
          const { weights } = explorer.advanced(state, 7);
          const { points } = explorer.SETS.xor;
          const { loss, right } = explorer.objective(points, weights, product);
          return [explorer.trainingCodes(points, weights, product, 0.7), explorer.text(loss), right];
        }""",
        product,
    )
    for library, code in codes:
        output = printed(code)
        assert number(output, "loss") == float(loss), library
        np.testing.assert_allclose(number(output, "right"), right, rtol=1e-6)
