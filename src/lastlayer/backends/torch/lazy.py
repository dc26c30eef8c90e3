"""Tensors whose numbers are computed when something needs them. In: how to compute them. Out: such a tensor.

A `LazyTensor` has a shape, a dtype, strides and a place in autograd's graph, but no storage. Inside, it is a
tensor on the meta device that may not hand out a pointer: C code that reads storage without asking anyone
finds that out and raises an error, where it would read memory that is not there. PyTorch asks a tensor of
this kind at two levels:

- ``__torch_function__`` sees a call before autograd does. What reads storage and asks nobody else, such as
  ``numpy()``, is answered there with a tensor that has some.
- ``__torch_dispatch__`` sees each operation after autograd did. A subclass may answer it with another lazy
  tensor (`LazyTensor.derived`); everything else is computed of the numbers.

Two rules keep numbers true. What has been computed is used as it is from then on, since others may have
written into it. And before anyone can write into numbers, whatever is still to be computed of them is.
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

__all__ = ["LazyTensor", "Snapshot", "Values", "made", "with_numbers"]

_aten = torch.ops.aten
_device_of = torch.ops.prim.device.default
_CPU = torch.device("cpu")
_PLAIN = torch._C.DisableTorchFunctionSubclass


class Values:
    """The numbers of a lazy tensor, computed once. A tensor and those detached from it share one object.

    Nothing here leads to a tensor of autograd's graph: saved by a node of the graph, it would otherwise keep
    the graph that keeps it.
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
        # What is to be computed from the memory that these numbers lie in, which a view shares.
        self._copies: list[weakref.ref[Values]] = [] if view_of is None else view_of._copies
        for source in copy_of:
            source._copies.append(weakref.ref(self))

    def get(self) -> Tensor:
        """The numbers; without a gradient."""
        if self.numbers is None:
            assert self._compute is not None
            with torch.no_grad(), torch.inference_mode(False):
                self.numbers = self._compute()
            self._compute = None  # and what it was computed from may go
        return self.numbers

    def settle(self) -> None:
        """Compute what is still to be computed of this memory: someone may write into it from now on."""
        copies = [values for copy in self._copies if (values := copy()) is not None]
        self._copies.clear()
        for values in copies:
            values.keep()

    def keep(self) -> None:
        """Have numbers in memory of their own."""
        self.get()


class Snapshot(Values):
    """The numbers that other values have now. They are the same memory, until someone may write into that."""

    def __init__(self, source: Values) -> None:
        super().__init__(source.get, copy_of=(source,))
        self._source: Values | None = source

    def get(self) -> Tensor:
        return super().get() if self._source is None else self._source.get()

    def keep(self) -> None:
        assert self._source is not None
        self.numbers, self._source = self._source.get().clone(), None


class _NotTraceable:
    """In place of the methods by which a compiler takes a tensor apart: a lazy tensor has none.

    Where the compiler may break its graph it then does, and calls the function as it is. As a part of one
    graph (``fullgraph=True``) it cannot, and PyTorch's message would name no remedy.
    """

    def __get__(self, _: Any, owner: type) -> Any:
        if _compiles_one_graph():
            deferred_errors.traced_whole(owner.__name__)
        raise AttributeError


def _compiles_one_graph() -> bool:
    """Whether ``torch.compile`` is at work and may not break its graph; False where PyTorch does not say."""
    tracer = getattr(sys.modules.get("torch._dynamo.symbolic_convert"), "InstructionTranslator", None)
    try:
        return bool(tracer is not None and tracer.current_tx().one_graph)
    except (AttributeError, RuntimeError):
        return False


class LazyTensor(Tensor):
    """A tensor whose numbers are computed when something needs them."""

    content: Values
    __tensor_flatten__ = _NotTraceable()
    functions: dict[Any, Callable[..., Any]] = {}  # noqa: RUF012 - what is answered before autograd sees it

    @classmethod
    def of(cls, like: Tensor, content: Values, **attributes: Any) -> Any:
        """A lazy tensor of the shape, strides and dtype of another."""
        options: Any = {"dtype": like.dtype, "device": "meta", "dispatch_device": True}
        self = Tensor._make_wrapper_subclass(cls, like.shape, like.stride(), like.storage_offset(), **options)
        torch._C._set_throw_on_mutable_data_ptr(self)
        vars(self).update(content=content, **attributes)
        return self

    def materialize(self) -> Tensor:
        """The numbers, without a gradient."""
        return self.content.get()

    def is_lazy(self) -> bool:
        """Whether nobody can have seen or changed the numbers yet."""
        return self.content.numbers is None

    def like(self) -> Tensor:
        """A tensor of this shape, strides and dtype on the meta device."""
        return torch.empty_strided(self.shape, self.stride(), dtype=self.dtype, device="meta")

    def derived(self, func: Any, args: Any, kwargs: Any) -> LazyTensor | None:  # noqa: ARG002
        """What an operation makes of this tensor and others, lazily; None where it needs the numbers."""
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
    """An operation on the numbers of lazy tensors."""
    lazy = [t for t in tree_leaves((args, kwargs)) if isinstance(t, LazyTensor)]
    if torch.Tag.inplace_view in func.tags and isinstance(args[0], LazyTensor):
        deferred_errors.changed_in_place(func._overloadpacket.__name__)
    numbers = {id(t): t.materialize() for t in lazy}  # by identity: tensors compare their elements
    if func._schema.is_mutable:
        for t in lazy:
            t.content.settle()

    def number(t: LazyTensor) -> Tensor:
        return numbers[id(t)]

    found = func(*tree_map_only(LazyTensor, number, args), **tree_map_only(LazyTensor, number, kwargs))
    owners = {id(numbers[id(t)]): t for t in lazy}
    storages = {_storage(numbers[id(t)]): t for t in lazy}
    for t in tree_leaves(found):
        if type(t) is Tensor and t.layout is torch.strided and _storage(t) in storages:
            storages[_storage(t)].content.settle()  # the result is a view: whoever has it may write into it

    def owner_of(t: Tensor) -> Tensor:
        return owners.get(id(t), t)

    return tree_map_only(Tensor, owner_of, found)  # an operation that writes returns what it wrote into


def _storage(t: Tensor) -> int:
    found: int = t.untyped_storage()._cdata
    return found


# --- their numbers, in autograd's graph ---------------------------------------------------------------------


class _Look(Function):
    """A lazy tensor -> its numbers. A write to either is counted for both: they share their version."""

    @staticmethod
    def forward(ctx: Any, t: LazyTensor) -> Tensor:  # noqa: ARG004
        t.materialize()
        with _PLAIN():
            return t.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad


class _Stead(Function):
    """(a tensor, other numbers) -> these, in its place in the graph."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, numbers: Tensor) -> Tensor:  # noqa: ARG004
        return numbers.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ARG004
        return grad, None


def made(x: Any) -> Any:
    """``x``; a lazy tensor as a plain one that has its numbers and its gradient."""
    return _Look.apply(x) if isinstance(x, LazyTensor) else x  # type: ignore[no-untyped-call]


def with_numbers(t: Tensor, numbers: Tensor) -> Tensor:
    """A plain tensor of these numbers, in the place of ``t`` in the graph."""
    return _Stead.apply(t, numbers)  # type: ignore[no-any-return, no-untyped-call]


def _handed_out(t: LazyTensor) -> Tensor:
    """The same, for someone who may write into it."""
    found: Tensor = made(t)
    t.content.settle()
    return found


def _read(func: Any, args: Any, kwargs: Any) -> Any:
    """A function that reads storage, of a tensor that has some."""
    return func(_handed_out(args[0]), *args[1:], **kwargs)


def _register_hook(func: Any, args: Any, kwargs: Any) -> Any:
    """Hooks are given gradients with numbers: they may write into them, by NumPy for example."""

    def of_numbers(hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def called(grad: Tensor) -> Any:
            if not isinstance(grad, LazyTensor):
                return hook(grad)
            numbers = _handed_out(grad)
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
    """The gradient is kept in numbers, which a later step of an optimizer does not change."""
    if args[0].requires_grad and not args[0].is_leaf:
        args[0].register_hook(lambda grad: grad)
    with _PLAIN():
        return func(*args, **kwargs)


def _with_numbers(func: Any, args: Any, kwargs: Any) -> Any:
    """Gradients are handed out with numbers."""
    with _PLAIN():
        return tree_map_only(LazyTensor, _handed_out, func(*args, **kwargs))


def _refuse_data(func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
    deferred_errors.data_set()


def _share_memory(func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
    _handed_out(args[0]).share_memory_()  # type: ignore[no-untyped-call]
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
