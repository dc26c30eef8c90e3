"""Lazy tensors: their numbers are computed when needed. In: a function that computes them. Out: a tensor.

A `LazyTensor` has a shape, a dtype, strides and a place in autograd's graph, but no storage. Internally it is
a tensor on the meta device whose data pointer may not be read: C code that tries to read it raises an error
instead of reading invalid memory. PyTorch passes operations on such a tensor to this class at two levels:

- ``__torch_function__`` is called before autograd. Functions that read the storage directly, such as
  ``numpy()``, get a materialized tensor there.
- ``__torch_dispatch__`` is called after autograd, for each operation. A subclass may return another lazy
  tensor (`LazyTensor.derived`). Otherwise the operation runs on the materialized numbers.

Two rules keep results correct:

1. Numbers that have been materialized are used from then on, and never computed again: the user may have
   written to them.
2. Before the user can write to numbers, all other lazy tensors that depend on them are materialized.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._pytree import tree_leaves, tree_map_only

from lastlayer.problem import deferred_errors

__all__ = ["LazyTensor", "Snapshot", "Values", "materialized", "with_numbers"]

_aten = torch.ops.aten
_device_of = torch.ops.prim.device.default
_CPU = torch.device("cpu")
_PLAIN = torch._C.DisableTorchFunctionSubclass


class Values:
    """The numbers of a lazy tensor, computed once. A tensor and its detached copies share one object.

    It holds no reference to a tensor in autograd's graph: a node that saves its own result would otherwise
    form a reference cycle.
    """

    def __init__(
        self,
        compute: Callable[[], Tensor],
        *,
        copy_of: tuple[Values, ...] = (),
        view_of: Values | None = None,
    ) -> None:
        self.numbers: Tensor | None = None
        self._compute: Callable[[], Tensor] | None = compute
        # Values that are still to be computed from the memory of these numbers. Views share the list.
        self._copies: list[weakref.ref[Values]] = [] if view_of is None else view_of._copies
        for source in copy_of:
            source._copies.append(weakref.ref(self))

    def get(self) -> Tensor:
        """The numbers, computed at the first call; without a gradient."""
        if self.numbers is None:
            assert self._compute is not None
            with torch.no_grad(), torch.inference_mode(False):
                self.numbers = self._compute()
            self._compute = None  # frees its arguments
        return self.numbers

    def compute_dependents(self) -> None:
        """Compute all values that depend on this memory, since it may be written to from now on."""
        copies = [values for copy in self._copies if (values := copy()) is not None]
        self._copies.clear()
        for values in copies:
            values.keep()

    def keep(self) -> None:
        """Make sure that the numbers are computed and in memory of their own."""
        self.get()


class Snapshot(Values):
    """A copy of other values as they are now. It shares their memory until that may be written to."""

    def __init__(self, source: Values) -> None:
        super().__init__(source.get, copy_of=(source,))
        self._source: Values | None = source

    def get(self) -> Tensor:
        return super().get() if self._source is None else self._source.get()

    def keep(self) -> None:
        assert self._source is not None
        self.numbers, self._source = self._source.get().clone(), None


class _NotTraceable:
    """Replaces the methods by which a compiler flattens a tensor subclass, so that lazy tensors lack them.

    The compiler then breaks its graph and runs the function eagerly. With ``fullgraph=True`` it may not; this
    class raises an error for that case, because PyTorch's own message names no remedy.
    """

    def __get__(self, _: Any, owner: type) -> Any:
        if _compiles_one_graph():
            deferred_errors.traced_whole(owner.__name__)
        raise AttributeError


def _compiles_one_graph() -> bool:
    """Whether ``torch.compile`` is running with ``fullgraph=True``; False if PyTorch does not tell."""
    tracer = getattr(sys.modules.get("torch._dynamo.symbolic_convert"), "InstructionTranslator", None)
    try:
        return bool(tracer is not None and tracer.current_tx().one_graph)
    except (AttributeError, RuntimeError):
        return False


class LazyTensor(Tensor):
    """A tensor whose numbers are computed when something needs them."""

    content: Values
    __tensor_flatten__ = _NotTraceable()
    functions: dict[Any, Callable[..., Any]] = {}  # noqa: RUF012 - replacements for functions of PyTorch

    @classmethod
    def of(cls, like: Tensor, content: Values, **attributes: Any) -> Any:
        """A lazy tensor with the shape, strides and dtype of ``like``."""
        options: Any = {"dtype": like.dtype, "device": "meta", "dispatch_device": True}
        self = Tensor._make_wrapper_subclass(cls, like.shape, like.stride(), like.storage_offset(), **options)
        torch._C._set_throw_on_mutable_data_ptr(self)
        vars(self).update(content=content, **attributes)
        return self

    def materialize(self) -> Tensor:
        """The numbers, as a plain tensor without a gradient."""
        return self.content.get()

    def is_lazy(self) -> bool:
        """Whether the numbers are not computed yet."""
        return self.content.numbers is None

    def like(self) -> Tensor:
        """A tensor with this shape, strides and dtype on the meta device."""
        return torch.empty_strided(self.shape, self.stride(), dtype=self.dtype, device="meta")

    def derived(self, func: Any, args: Any, kwargs: Any) -> LazyTensor | None:  # noqa: ARG002
        """The lazy result of an operation on this tensor and others; None if it needs the numbers."""
        return None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        answer = cls.functions.get(func)
        if answer is not None:
            return answer(func, args, kwargs)
        with _PLAIN():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _device_of:
            return _CPU
        for a in args:
            if isinstance(a, LazyTensor) and a.is_lazy():
                found = a.derived(func, args, kwargs)
                if found is not None:
                    return found
        return _of_numbers(func, args, kwargs)


def _of_numbers(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operation on the materialized numbers of lazy tensors."""
    lazy = [t for t in tree_leaves((args, kwargs)) if isinstance(t, LazyTensor)]
    if torch.Tag.inplace_view in func.tags and isinstance(args[0], LazyTensor):
        deferred_errors.changed_in_place(func._overloadpacket.__name__)
    numbers = {id(t): t.materialize() for t in lazy}  # by identity: tensors compare their elements
    if func._schema.is_mutable:
        for t in lazy:
            t.content.compute_dependents()

    def number(t: LazyTensor) -> Tensor:
        return numbers[id(t)]

    found = func(*tree_map_only(LazyTensor, number, args), **tree_map_only(LazyTensor, number, kwargs))
    owners = {id(numbers[id(t)]): t for t in lazy}
    storages = {_storage(numbers[id(t)]): t for t in lazy}
    for t in tree_leaves(found):
        if type(t) is Tensor and t.layout is torch.strided and _storage(t) in storages:
            source = storages[_storage(t)]
            source.content.compute_dependents()  # the result is a view, to which the user may write

    def owner_of(t: Tensor) -> Tensor:
        return owners.get(id(t), t)

    return tree_map_only(Tensor, owner_of, found)  # an in-place operation returns the lazy tensor itself


def _storage(t: Tensor) -> int:
    found: int = t.untyped_storage()._cdata
    return found


# --- materialized tensors in autograd's graph ---------------------------------------------------------------


class _Look(Function):
    """A lazy tensor -> its numbers. Both share one version counter, so writes to either are detected."""

    @staticmethod
    def forward(ctx: Any, t: LazyTensor) -> Tensor:  # noqa: ARG004
        t.materialize()
        with _PLAIN():
            return t.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad


class _Substitute(Function):
    """(tensor, numbers) -> the numbers, with the tensor's place in the graph."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, numbers: Tensor) -> Tensor:  # noqa: ARG004
        return numbers.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ARG004
        return grad, None


def materialized(x: Any) -> Any:
    """``x``; a lazy tensor becomes a plain tensor with its numbers and its place in the graph."""
    return _Look.apply(x) if isinstance(x, LazyTensor) else x  # type: ignore[no-untyped-call]


def with_numbers(t: Tensor, numbers: Tensor) -> Tensor:
    """A plain tensor of these numbers, with the place of ``t`` in the graph."""
    return _Substitute.apply(t, numbers)  # type: ignore[no-any-return, no-untyped-call]


def _writable(t: LazyTensor) -> Tensor:
    """`materialized`, for a caller that may write to the result."""
    found: Tensor = materialized(t)
    t.content.compute_dependents()
    return found


def _read(func: Any, args: Any, kwargs: Any) -> Any:
    """Call a function that reads the storage, on the materialized tensor."""
    return func(_writable(args[0]), *args[1:], **kwargs)


def _register_hook(func: Any, args: Any, kwargs: Any) -> Any:
    """Pass materialized gradients to a hook, since it may write to them, by NumPy for example."""

    def of_numbers(hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def called(grad: Tensor) -> Any:
            if not isinstance(grad, LazyTensor):
                return hook(grad)
            numbers = _writable(grad)
            found = hook(numbers)
            return numbers if found is None else found

        return called

    args, kwargs = list(args), dict(kwargs)
    if len(args) > 1:
        args[1] = of_numbers(args[1])
    elif "hook" in kwargs:
        kwargs["hook"] = of_numbers(kwargs["hook"])
    with _PLAIN():
        return func(*args, **kwargs)


def _retain_grad(func: Any, args: Any, kwargs: Any) -> Any:
    """Retain a materialized gradient, which a later step of an optimizer cannot change."""
    if args[0].requires_grad and not args[0].is_leaf:
        args[0].register_hook(lambda grad: grad)
    with _PLAIN():
        return func(*args, **kwargs)


def _with_numbers(func: Any, args: Any, kwargs: Any) -> Any:
    """Return materialized gradients."""
    with _PLAIN():
        return tree_map_only(LazyTensor, _writable, func(*args, **kwargs))


def _refuse_data(func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
    deferred_errors.data_set()


def _share_memory(func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
    _writable(args[0]).share_memory_()  # type: ignore[no-untyped-call]
    return args[0]


_READERS = (
    "__array__ __deepcopy__ __dlpack__ __format__ __reduce_ex__ __repr__ data_ptr is_shared numpy storage "
    "tolist untyped_storage _typed_storage"
)
LazyTensor.functions = {
    **{getattr(Tensor, name): _read for name in _READERS.split()},
    Tensor.register_hook: _register_hook,
    Tensor.retain_grad: _retain_grad,
    Tensor.grad.__get__: _with_numbers,  # type: ignore[union-attr]
    torch.autograd.grad: _with_numbers,
    Tensor.data.__set__: _refuse_data,  # type: ignore[attr-defined]
    Tensor.share_memory_: _share_memory,
}
