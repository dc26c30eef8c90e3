"""The number of threads for NumPy arrays. In: a number, or the environment. Out: the core's setting."""

from __future__ import annotations

import operator
import os
from typing import Any

from .backends.core import core
from .errors import OptionError

__all__ = ["get_num_threads", "set_num_threads"]

_MOST = 4095
_RULE = f"an int in [1, {_MOST}]"


def get_num_threads() -> int:
    """The number of threads that a large call on NumPy arrays is divided over.

    Returns
    -------
    int
        What `set_num_threads` set; before that the environment variable ``LASTLAYER_NUM_THREADS``, else
        ``OMP_NUM_THREADS``, else the number of processors that this process may use. 1 without the compiled
        core.

    See Also
    --------
    set_num_threads : what the number means.

    Examples
    --------
    >>> import lastlayer as ll
    >>> ll.get_num_threads() >= 1
    True
    """
    return int(core.get_num_threads()) if core.BUILT else 1


def set_num_threads(n: int) -> None:
    """Set the number of threads that a large call on NumPy arrays is divided over.

    The setting holds for the whole process, from the next call on. Small calls stay on the calling thread.
    Results have the same bits for every number of threads.

    Parameters
    ----------
    n : int in [1, 4095]

    Raises
    ------
    OptionError

    Notes
    -----
    Calls on PyTorch tensors use ``torch.get_num_threads()`` instead. The matrix products of the linear head
    on NumPy arrays use the threads of NumPy's BLAS library. Without the compiled core the setting has no
    effect.

    Examples
    --------
    >>> import lastlayer as ll
    >>> before = ll.get_num_threads()
    >>> ll.set_num_threads(1)
    >>> ll.get_num_threads()
    1
    >>> ll.set_num_threads(before)
    """
    try:
        number = operator.index(n)
    except TypeError:
        number = 0
    if not 1 <= number <= _MOST:
        raise OptionError("set_num_threads", "n", repr(n), _RULE)
    if core.BUILT:
        core.set_num_threads(number)


def check_environment(environment: Any) -> None:
    """Raise an OptionError if ``LASTLAYER_NUM_THREADS`` is set to something else than a number of threads."""
    text = environment.get("LASTLAYER_NUM_THREADS", "").strip()
    if text and not (text.isdecimal() and text.isascii() and 1 <= int(text[:10]) <= _MOST):
        raise OptionError("", "LASTLAYER_NUM_THREADS", repr(text), f"{_RULE}, or unset it")


check_environment(os.environ)
