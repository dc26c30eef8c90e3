"""Language models of Hugging Face ``transformers``. In: a model. Out: the same, whose loss needs no logits.

``transformers`` is not imported: models have methods to get and set their head.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from lastlayer import problem
from lastlayer.typing import Defer

from .head import LinearHead

__all__ = ["without_logits"]

Model = TypeVar("Model", bound=nn.Module)


def without_logits(model: Model, *, max_memory: float | None = None, defer: Defer = "training") -> Model:
    """Let a causal language model, or another with a linear head, compute its loss without its logits.

    The model's head is replaced by a `lastlayer.torch.LinearHead` with the same parameters, through the
    model's ``get_output_embeddings`` and ``set_output_embeddings``. Its ``forward`` is unchanged, so
    ``model(input_ids, labels=labels).loss`` has the same meaning: shifted labels, ``num_items_in_batch``,
    softcaps and scales of the logits, auxiliary losses. ``outputs.logits`` are materialized when used.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Changed in place. Its parameters, their names and its state_dict stay the same.
    max_memory : number of bytes, optional
        As in `lastlayer.linear_cross_entropy`.
    defer : {"training", "always", "never"}
        When the logits are deferred, as in `lastlayer.torch.LinearHead`.

    Returns
    -------
    The model

    Raises
    ------
    DtypeError
        The model has no head, or not a plain ``torch.nn.Linear``.
    OptionError
        For another ``defer``.

    Notes
    -----
    Call it after everything that changes the head (``from_pretrained``, ``resize_token_embeddings``,
    quantization), and before ``get_peft_model``, which replaces layers by its own. If the whole model is
    compiled, its logits are materialized; compile ``model.base_model`` instead.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch.transformers import without_logits
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=1000, n_embd=16, n_layer=1, n_head=2)
    >>> model = without_logits(GPT2LMHeadModel(config))
    >>> tokens = torch.arange(12).reshape(2, 6)
    >>> model(tokens, labels=tokens).loss.backward()
    """
    problem.check_defer("without_logits", defer)
    get: Any = getattr(model, "get_output_embeddings", None)
    head: Any = None if get is None else get()
    if type(head) not in (nn.Linear, LinearHead) or "forward" in vars(head):
        problem.unknown_head("without_logits", f"the head of {type(model).__name__}", head)
    put: Any = model.set_output_embeddings
    put(LinearHead.of(head, max_memory=max_memory, defer=defer))
    return model
