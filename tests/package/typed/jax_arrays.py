"""What arrays of JAX give; mypy alone reads this."""

import jax
import jax.numpy as jnp
from typing_extensions import assert_type

import lastlayer as ll

logits, y = jnp.zeros((2, 3)), jnp.array([2, 0])

assert_type(ll.softmax(logits), jax.Array)
assert_type(ll.cross_entropy(logits, y, reduction="none"), jax.Array)
assert_type(ll.row_stats(logits, y).nll, jax.Array)
