"""`fit_temperature(kind=)`: log-probabilities are logits; what is neither is refused with what to do."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll


def test_log_probabilities_and_what_is_refused():
    z, y = (np.random.default_rng(0).normal(size=(50, 4)) * 3).round(2), np.arange(50) % 4
    expected = ll.fit_temperature(z, y)
    found = ll.fit_temperature(ll.log_softmax(z), y, kind="log-probabilities")
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    rule = "expected 'logits' or 'log-probabilities'"
    remedy = "; pass their logarithms, with kind='log-probabilities'"
    with raises(ll.OptionError, f"fit_temperature: kind is 'probabilities'; {rule}{remedy}"):
        ll.fit_temperature(ll.softmax(z), y, kind="probabilities")
    with raises(ll.OptionError, f"fit_temperature: kind is 'scores'; {rule}"):
        ll.fit_temperature(z, y, kind="scores")
    with raises(
        ll.OptionError, "fit_temperature: kind is 'log-probabilities'; expected 'logits' with weight="
    ):
        ll.fit_temperature(z, y, weight=np.eye(4), kind="log-probabilities")
    rule = "expected 'logits' with binary=True; pass x - log(1 - exp(x)) of each log-probability x"
    with raises(ll.OptionError, f"fit_temperature: kind is 'log-probabilities'; {rule}"):
        ll.fit_temperature(-np.abs(z[:, 0]), y % 2, binary=True, kind="log-probabilities")


def test_data_that_says_it_is_log_probabilities(tmp_path):
    x = np.linspace(-3, -0.1, 20)
    np.savez(tmp_path / "a.npz", log_probs=np.stack([np.log(-np.expm1(x)), x], 1), targets=np.arange(20) % 2)
    np.savez(tmp_path / "b.npz", log_probs=x, targets=np.arange(20) % 2)
    both = ll.fit_temperature(tmp_path / "a.npz")
    assert ll.fit_temperature(tmp_path / "a.npz", kind="log-probabilities") == both
    assert ll.fit_temperature(
        x - np.log(-np.expm1(x)), np.arange(20) % 2, binary=True
    ).value == pytest.approx(both.value, rel=1e-9)
    rule = "expected logits with binary=True; pass x - log(1 - exp(x)) of each log-probability x"
    with raises(ll.OptionError, f"fit_temperature: scores is log-probabilities, as the data says; {rule}"):
        ll.fit_temperature(tmp_path / "b.npz", binary=True)
