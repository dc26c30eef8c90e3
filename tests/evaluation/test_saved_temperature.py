"""Temperatures that were changed in their file are refused; scaled weights change no interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll


def data(n=400, classes=3):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, classes))
    return 2 * z, (z + rng.gumbel(size=z.shape)).argmax(1)


def saved(**changed):
    return {**ll.fit_temperature(*data()).to_dict(), **changed}


def test_what_was_saved_comes_back():
    z = np.eye(3)[[0, 1, 2]] * 5
    with pytest.warns(UserWarning, match="the smallest temperature, 0.001"):
        t = ll.fit_temperature(z, [0, 1, 2])  # an interval of NaN or infinity is text in JSON
    assert repr(ll.Temperature.from_dict(t.to_dict())) == repr(t)


@pytest.mark.parametrize(
    ("name", "value"), [("value", -1.0), ("value", "nan"), ("value", "1.5"), ("n", None), ("other", 3)]
)
def test_changed_values_are_refused(name, value):
    with pytest.raises(ll.OptionError, match="saved is damaged; expected what"):
        ll.Temperature.from_dict(saved(**{name: value}))


def test_the_interval_does_not_depend_on_the_unit_of_the_weights():
    z, y = data()
    w = np.random.default_rng(1).uniform(0.5, 2, len(y))
    one, other = ll.fit_temperature(z, y, sample_weight=w), ll.fit_temperature(z, y, sample_weight=1000 * w)
    assert math.isclose(one.stderr, other.stderr, rel_tol=1e-9)
    # By hand: the information of beta = 1 / T, for weights with a sum of n_eff.
    b = 1 / one.value
    p = np.exp(b * z) / np.exp(b * z).sum(1, keepdims=True)
    variance = (p * z**2).sum(1) - (p * z).sum(1) ** 2
    information = (w * variance).sum() * w.sum() / (w**2).sum()
    assert math.isclose(one.stderr, one.value**2 / math.sqrt(information), rel_tol=1e-9)


def test_a_bias_without_a_weight_is_refused():
    with raises(ll.OptionError, "fit_temperature: bias is given; expected None without weight="):
        ll.fit_temperature(*data(), bias=np.zeros(3))


@pytest.mark.parametrize(
    ("scale", "text"), [(1e-5, "the smallest temperature"), (1e5, "the largest temperature")]
)
def test_a_temperature_outside_of_the_bounds_is_said_to_be(scale, text):
    z, y = data()
    with pytest.warns(UserWarning, match=text):
        t = ll.fit_temperature(scale * z, y)
    assert t.value in (1e-3, 1e3)
