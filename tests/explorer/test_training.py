"""The explorer's linear layer: losses and steps against lastlayer, and the picture by mouse and keyboard."""

import numpy as np
import pytest

import lastlayer as ll


def data(points, product):
    x = np.array([[p["x"], p["y"], 1.0] + [p["x"] * p["y"]] * product for p in points])
    return x, np.array([p["k"] for p in points])


@pytest.mark.parametrize(
    ("name", "product"), [("three", False), ("five", False), ("xor", False), ("xor", True)]
)
def test_steps_are_gradient_descent(shared, name, product):
    points, after = shared.evaluate(
        """([set, product]) => {
          const state = { set, points: null, product, rate: 0.5, step: 0, weights: null, history: null };
          return [explorer.SETS[set].points, explorer.advanced(state, 60)];
        }""",
        [name, product],
    )
    x, y = data(points, product)
    weights = np.zeros((y.max() + 1, x.shape[1]))
    for step, shown in after["history"]:
        loss, (_, gradient, _) = ll.linear_cross_entropy_grad(x, weights, y)
        assert abs(loss - shown) <= 1e-11 * loss, step
        if step < 60:
            weights = weights - 0.5 * gradient
    np.testing.assert_allclose(after["weights"], weights, rtol=1e-10, atol=1e-12)
    assert (x @ weights.T).argmax(1).tolist() == y.tolist() or name in ("five", "xor")


def test_xor_cannot_be_separated_by_a_linear_layer_and_with_the_product_it_can(shared):
    rights = shared.evaluate(
        """[false, true].map((product) => {
          const state = { set: "xor", points: null, product, rate: 1, step: 0, weights: null, history: null };
          const { weights } = explorer.advanced(state, 200);
          return explorer.objective(explorer.SETS.xor.points, weights, product).right;
        })"""
    )
    assert rights[0] < 0.8
    assert rights[1] == 1


def test_regions_change_where_the_prediction_does(shared):
    rng = np.random.default_rng(0)
    for product in (False, True):
        weights, height = rng.normal(size=(4, 3 + product)), float(rng.uniform(-3, 3))
        parts = shared.evaluate(
            "([w, product, y]) => explorer.intervals(w, product, y, 3)", [weights.tolist(), product, height]
        )
        assert [parts[0][0], parts[-1][1]] == [-3, 3]
        for start, stop, k in parts:
            for across in np.linspace(start, stop, 9)[1:-1]:
                f = [across, height, 1] + [across * height] * product
                assert (weights @ f).argmax() == k


def shown(page, title):
    return page.inner_text(f".cards li:has(h3:text-is('{title}')) .value")


def test_step_run_and_reset(visit):
    page = visit("#view=training").page
    start = float(shown(page, "Mean loss"))
    page.click("button:text-is('Step')")
    assert shown(page, "Step") == "1"
    assert float(shown(page, "Mean loss")) < start
    page.click("button:text-is('Run')")
    page.wait_for_function("() => Number(document.querySelector('.cards .value').textContent) > 5")
    page.click("button:text-is('Pause')")
    page.wait_for_function("() => /step=\\d+/.test(location.hash) && /weights=/.test(location.hash)")
    page.click("button:text-is('Reset')")
    assert float(shown(page, "Mean loss")) == start


def test_reduced_motion_takes_the_steps_at_once(visit):
    page = visit("#view=training", reduced_motion="reduce").page
    page.click("button:text-is('Run')")
    assert shown(page, "Step") == "100"
    assert page.is_visible("button:text-is('Run')")


def test_the_address_brings_training_back(visit):
    page = visit("#view=training&set=xor&product=1&rate=0.3").page
    for _ in range(3):
        page.click("button:text-is('Step')")
    page.wait_for_function("() => location.hash.includes('step=3')")
    again = visit(page.evaluate("location.hash")).page
    assert [shown(again, name) for name in ("Step", "Mean loss", "Right")] == [
        shown(page, name) for name in ("Step", "Mean loss", "Right")
    ]


def test_points_are_added_dragged_moved_and_removed(visit):
    page = visit("#view=training").page
    count = page.locator(".point").count()
    box = page.locator(".plane").bounding_box()
    page.locator(".plane").click(position={"x": box["width"] * 0.95, "y": box["height"] * 0.05})
    assert page.locator(".point").count() == count + 1
    added = page.locator(".point").nth(count)
    assert added.get_attribute("aria-label").startswith("point 30 of class 0 at 2.7")
    page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + box["height"] * 0.05)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25, steps=4)
    page.mouse.up()
    assert added.get_attribute("aria-label").startswith("point 30 of class 0 at 1.5, 1.5")
    assert page.locator(".point").count() == count + 1  # a drag adds none
    added.focus()
    page.keyboard.press("ArrowRight")
    assert added.get_attribute("aria-label").startswith("point 30 of class 0 at 1.6, 1.5")
    page.keyboard.press("Delete")
    assert page.locator(".point").count() == count
