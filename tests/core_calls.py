"""The operations of the native core with keyword arguments, and defaults for those that tests rarely pass.

In: arrays, the class axis, and the options that a test is about. Out: what the core returns.
"""

from __future__ import annotations

from functools import partial

from lastlayer import _core

_SCORES = {"bfloat": False, "temperature": 1.0, "softcap": 0.0}
_TARGETS = {"dense": False, "targets_bfloat": False, "ignore_index": None}

softmax = partial(_core.softmax, **_SCORES, log=False, where=None)
softmax_backward = partial(_core.softmax_backward, log=False, bfloat=False)
row_stats = partial(_core.row_stats, **_SCORES, **_TARGETS, where=None, targets=None, k=0)
cross_entropy = partial(
    _core.cross_entropy,
    **_SCORES,
    **_TARGETS,
    class_weight=None,
    sample_weight=None,
    on=1.0,
    off=0.0,
    z_loss=0.0,
    scale=1.0,
    kind=0,
    losses=None,
    grad=None,
)
target_totals = partial(_core.target_totals, ignore_index=None, class_weight=None, sample_weight=None)
