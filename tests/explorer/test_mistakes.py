"""The explorer's mistakes: losses as in docs/worked, gradients as differences, the names `check` gives."""

import numpy as np

import lastlayer as ll

GOOD = np.array([[1.0, 1.1, 2.5], [1.0, 3.1, 0.5], [2.1, 0.1, 0.5]])
BAD = np.array([[3.2, 0.2, 0.9], [3.2, 0.2, 0.9], [0.2, 3.2, 0.1]])
TARGETS = [2, 1, 0]

# As docs/worked prints them.
WORKED = {
    "twice": (0.7254601, 0.2850904), "onehot": (0.5418083, 0.3250850), "indices": (2.1517570, 0.2850904),
    "classes": (0.2850904 / 3, 0.2850904),
}  # fmt: skip


def test_the_losses_are_those_of_the_worked_page(shared):
    losses = """name => ["wrong", "right"].map((kind) =>
      explorer.MISTAKES[name][kind](explorer.GOOD, explorer.TARGETS).loss)"""
    for name, expected in WORKED.items():
        np.testing.assert_allclose(shared.evaluate(losses, name), expected, atol=6e-8)
    assert shared.evaluate("[explorer.GOOD, explorer.BAD, explorer.TARGETS]") == [
        GOOD.tolist(), BAD.tolist(), TARGETS,
    ]  # fmt: skip


def test_gradients_are_differences_of_the_losses(shared):
    h = 1e-5
    for name in shared.evaluate("Object.keys(explorer.MISTAKES)"):
        for kind in ("wrong", "right"):
            moved = [GOOD + sign * h * np.eye(9)[k].reshape(3, 3) for k in range(9) for sign in (1, -1)]
            losses, grad = shared.evaluate(
                """([name, kind, moved, at]) => {
                  const of = (z) => explorer.MISTAKES[name][kind](z, explorer.TARGETS);
                  return [moved.map((z) => of(z).loss), of(at).grad];
                }""",
                [name, kind, [z.tolist() for z in moved], GOOD.tolist()],
            )
            differences = (np.array(losses[::2]) - np.array(losses[1::2])) / (2 * h)
            np.testing.assert_allclose(np.ravel(grad), differences, atol=1e-9, err_msg=f"{name} {kind}")


def test_check_names_them_so(shared):
    names = shared.evaluate(
        "Object.fromEntries(Object.entries(explorer.MISTAKES).map(([name, one]) => [name, one.check]))"
    )
    assert names.pop("classes") is None
    columns = np.exp(GOOD) / np.exp(GOOD).sum(0)
    one_hot = np.eye(3)[TARGETS]
    found = {
        "twice": ll.check(ll.softmax(GOOD), TARGETS),
        "axis": ll.check(columns, kind="probabilities"),
        "indices": ll.check(GOOD, one_hot[0].astype(int)),
        "onehot": ll.check(GOOD, one_hot),
    }
    assert {name: next(iter(findings)).code for name, findings in found.items()} == names
