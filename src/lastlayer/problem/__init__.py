"""Arguments -> a checked problem in canonical form, or an error. In: what the user passed. Out: tuples.

Nothing after this package checks again. Two forms leave it: ``Scores``, which softmax and its kin need, and
``Problem``, which adds targets for the losses (`types` says what they hold).

NumPy's own dtypes take the short way through every function: a softmax of three numbers is a matter of
microseconds.
"""

from .check_arrays import is_integral, mask, to_numpy
from .check_head import enough_memory, head, head_scores
from .check_numbers import check_defer, class_offset, shift_of, top
from .check_scores import can_write, out, scores
from .check_shard import ELSEWHERE, Shard, no_smoothing, own_indices, shard, shard_indices
from .check_target_arrays import later, target_logits
from .check_targets import effective_targets, finish, is_mean, without_targets
from .check_top_k_targets import is_top_k
from .fold_axes import Axes, axes, folding
from .target_errors import not_exchanged
from .types import LEAST, ROUNDED, Head, Problem, Scores, Targets, TopK
from .wording import bad_number, name_of, unfit, unknown_head

__all__ = [
    "ELSEWHERE",
    "LEAST",
    "ROUNDED",
    "Axes",
    "Head",
    "Problem",
    "Scores",
    "Shard",
    "Targets",
    "TopK",
    "axes",
    "bad_number",
    "can_write",
    "check_defer",
    "class_offset",
    "effective_targets",
    "enough_memory",
    "finish",
    "folding",
    "head",
    "head_scores",
    "is_integral",
    "is_mean",
    "is_top_k",
    "later",
    "mask",
    "name_of",
    "no_smoothing",
    "not_exchanged",
    "out",
    "own_indices",
    "scores",
    "shard",
    "shard_indices",
    "shift_of",
    "target_logits",
    "to_numpy",
    "top",
    "unfit",
    "unknown_head",
    "without_targets",
]
