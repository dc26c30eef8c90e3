"""Check a call's arguments and bring them to canonical form. In: the user's arguments. Out: named tuples.

No later module checks them again. There are two canonical forms, defined in `types`: ``Scores`` for softmax
and similar functions, and ``Problem``, which adds targets, for losses. A wrong argument raises an error here.

Every function first tests for aligned NumPy arrays of float32 or float64, which need no conversion: this
keeps a call on three numbers at a few microseconds.
"""

from .check_arrays import is_integral, mask, to_numpy
from .check_head import enough_memory, head, head_scores, shape_of_heads
from .check_numbers import check_defer, class_offset, no_ignore_index, shift_of, top
from .check_out import can_write, check_tensor_out, out
from .check_scores import scores
from .check_shard import ELSEWHERE, Shard, no_smoothing, own_indices, shard, shard_indices
from .check_target_arrays import later, target_logits
from .check_targets import effective_targets, finish, is_mean, without_targets
from .check_top_k_targets import is_top_k
from .check_weights import class_weight_shape
from .fold_axes import Axes, axes, folding
from .target_errors import not_exchanged, not_indices
from .types import LEAST, ROUNDED, Head, Problem, Scores, Targets, TopK, all_classes, held_classes
from .wording import bad_number, other_library, unfit, unknown_head

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
    "all_classes",
    "axes",
    "bad_number",
    "can_write",
    "check_defer",
    "check_tensor_out",
    "class_offset",
    "class_weight_shape",
    "effective_targets",
    "enough_memory",
    "finish",
    "folding",
    "head",
    "head_scores",
    "held_classes",
    "is_integral",
    "is_mean",
    "is_top_k",
    "later",
    "mask",
    "no_ignore_index",
    "no_smoothing",
    "not_exchanged",
    "not_indices",
    "other_library",
    "out",
    "own_indices",
    "scores",
    "shape_of_heads",
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
