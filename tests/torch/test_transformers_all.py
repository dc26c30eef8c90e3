"""Every causal model of transformers that is easily built small: loss and gradients stay its own. Slow."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES  # noqa: E402

from lastlayer.torch.transformers import without_logits  # noqa: E402

# What configurations call their sizes; each takes what it knows.
SIZES = {
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_key_value_heads "
    "expand num_experts_per_tok eos_token_id",
    4: "num_attention_heads n_head n_heads decoder_attention_heads encoder_attention_heads num_experts "
    "num_local_experts n_routed_experts",
    8: "head_dim state_size hidden_size_per_layer_input rotary_dim",
    16: "moe_intermediate_size",
    32: "hidden_size n_embd d_model word_embed_proj_dim",
    48: "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim",
    64: "max_position_embeddings n_positions max_seq_len",
    131: "vocab_size vocab_size_per_layer_input",
    1: "bos_token_id n_group topk_group first_k_dense_replace",
    0: "pad_token_id",
}
DROPOUT = (
    "dropout attention_dropout hidden_dropout hidden_dropout_prob attention_probs_dropout_prob resid_pdrop "
    "embd_pdrop attn_pdrop activation_dropout"
)
SMALL = {name: size for size, names in SIZES.items() for name in names.split()}
SMALL |= dict.fromkeys(DROPOUT.split(), 0.0) | {"is_decoder": True}
MAKES_ITS_LOGITS = {"ProphetNetForCausalLM"}  # it predicts several tokens at once


def build(kind, name):
    """A small model, or None."""
    config = transformers.CONFIG_MAPPING[kind]
    model = getattr(transformers, name if isinstance(name, str) else name[0])
    torch.manual_seed(0)
    try:
        try:
            options = config(**SMALL)
        except Exception:
            known = config().to_dict()
            options = config(**{k: v for k, v in SMALL.items() if k in known})
        with torch.device("meta"):
            if sum(p.numel() for p in model(options).parameters()) > 3e6:
                return None
        return model(options).train()
    except Exception:
        return None


def results(model, ids):
    model.zero_grad()
    torch.manual_seed(1)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of transformers itself: of models that are old, or want other options
def test_every_model(made):
    ids = torch.randint(3, 131, (2, 9), generator=torch.Generator().manual_seed(0))
    tested = []
    for kind, name in NAMES.items():
        model = build(kind, name)
        try:
            expected, gradients = results(model, ids)
        except Exception:  # too small, it may be
            continue
        made.clear()
        found, ours = results(without_logits(model, defer="always"), ids)
        assert found == pytest.approx(expected, rel=1e-6), name
        assert ours.keys() == gradients.keys(), name
        largest = max(g.abs().max() for g in gradients.values())
        for key, g in gradients.items():
            assert (ours[key] - g).abs().max() <= 1e-5 * largest, (name, key)
        assert bool(made) == (name in MAKES_ITS_LOGITS), name
        tested.append(name)
    assert len(tested) >= 120
