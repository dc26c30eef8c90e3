"""Language models of Hugging Face: loss and gradients are the model's own, and its logits are not made."""

from __future__ import annotations

import copy

import pytest
from assertions import raises

import lastlayer as ll

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
from lastlayer.torch import LinearHead  # noqa: E402
from lastlayer.torch import transformers as ours  # noqa: E402


def without_logits(model, **options):
    """The model with a head that defers logits of a few rows too, and in evaluation."""
    return ours.without_logits(model, **{"defer": "always"} | options)


V = 211
SMALL = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {"vocab_size": V, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "bos_token_id": 1}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "eos_token_id": 2}
EXPERTS = {"num_local_experts": 4, "output_router_logits": True, "router_aux_loss_coef": 0.5}
MODELS = {
    "Llama": ("LlamaConfig", SMALL),
    "Llama, tied": ("LlamaConfig", SMALL | {"tie_word_embeddings": True}),
    "Qwen2": ("Qwen2Config", SMALL),
    "Qwen3": ("Qwen3Config", SMALL | {"head_dim": 8}),
    "Gemma2": ("Gemma2Config", SMALL | {"head_dim": 8, "final_logit_softcapping": 2.0}),
    "GPT-2": ("GPT2Config", GPT2 | NO_DROPOUT),
    "Phi": ("PhiConfig", SMALL),  # its head has a bias
    "Granite": ("GraniteConfig", SMALL | {"logits_scaling": 3.0}),
    "Cohere": ("CohereConfig", SMALL | {"logit_scale": 0.3}),
    "Mixtral": ("MixtralConfig", SMALL | EXPERTS),  # a part of its loss comes from elsewhere
}
FOUR = ["Llama", "Qwen3", "Gemma2", "GPT-2"]

IDS = torch.randint(3, V, (2, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[0, 6:] = 0
LABELS = IDS.masked_fill(MASK == 0, -100)
BATCH = {"input_ids": IDS, "attention_mask": MASK, "labels": LABELS}


def build(name, dtype=torch.float32, **others):
    """A model with random weights, large enough for its logits to differ."""
    kind, options = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**options | others)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
        if name == "Phi":
            model.get_output_embeddings().bias.normal_()
    return model.to(dtype).train()


def results(model, **inputs):
    """The loss, and the gradient of every parameter by its name."""
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return {"loss": loss.detach()} | {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


def exact_loss(logits, labels, vocab_size, num_items_in_batch, **_):
    """The loss of a causal model, in the dtype of its logits: transformers' own is in float32."""
    rows, targets = logits[:, :-1].reshape(-1, vocab_size), labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(rows, targets, reduction="sum") / num_items_in_batch


def assert_as_good(ours, theirs, truth, dtype):
    """Raise unless ours are as near to the truth as theirs are, but for the luck of rounding.

    Most of a gradient's error is the model's body's: of the same size in both, since the operations are the
    same, and not of the same sign, since what they are given differs in the last bit. So errors are compared
    by their norms. The head's own are tested elsewhere, against the truth.
    """
    assert list(ours) == list(theirs) == list(truth)
    assert all(ours[name].dtype is theirs[name].dtype for name in truth)
    loss = truth["loss"]
    error, own = ((found["loss"].double() - loss).abs() for found in (ours, theirs))
    assert error <= own + torch.finfo(dtype).eps * loss.abs()
    names = [name for name in truth if name != "loss"]
    errors, owns = (
        torch.stack([(found[k].double() - truth[k]).norm() for k in names]) for found in (ours, theirs)
    )
    assert errors.norm() <= 1.25 * owns.norm()
    assert (errors <= 2 * owns).all(), names


def assert_same(found, expected):
    """Raise unless each tensor is the expected one, up to the error of float32.

    By the norm: a number of a gradient can be the small difference of large ones, and no two orders of a sum
    agree about it.
    """
    assert list(found) == list(expected)
    for name, truth in expected.items():
        assert (found[name] - truth).norm() <= 1e-5 * truth.norm(), name


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_the_models_own(made, name):
    model = build(name, torch.float32 if name == "Mixtral" else torch.float64)  # its products want no more
    inputs = dict(BATCH, num_items_in_batch=torch.tensor(11))
    expected, parts = results(model, **BATCH), results(model, **inputs)
    names = list(model.state_dict())
    assert without_logits(model) is model
    assert_same(results(model, **BATCH), expected)
    assert_same(results(model, **inputs), parts)
    assert list(model.state_dict()) == names
    assert not made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FOUR)
def test_they_are_as_near_to_the_truth(made, name, dtype):
    model = build(name, dtype)
    inputs = dict(BATCH, num_items_in_batch=11)
    theirs = results(model, **inputs)
    exact = copy.deepcopy(model).double()
    exact.loss_function = exact_loss
    truth = results(exact, **inputs)
    assert_as_good(results(without_logits(model), **inputs), theirs, truth, dtype)
    assert not made


@pytest.mark.parametrize("name", FOUR)
def test_what_a_call_may_be(made, name):
    model = build(name)
    embeddings = model.get_input_embeddings()(IDS).detach()
    calls = (
        {"input_ids": IDS, "labels": LABELS, "position_ids": torch.arange(9).flip(0).expand(2, 9)},
        {"inputs_embeds": embeddings, "labels": LABELS},
        {"input_ids": IDS, "labels": LABELS, "shift_labels": LABELS.roll(-1, 1)},
        {"input_ids": IDS, "labels": torch.full_like(LABELS, -100), "num_items_in_batch": 3},
    )
    expected = [results(model, **call) for call in calls]
    without_logits(model)
    found = [results(model, **call) for call in calls]
    assert not made
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_other_outputs_are_as_ever(made):
    model = build("Gemma2").eval()
    with torch.no_grad():
        expected = model(**BATCH, output_hidden_states=True)
        tokens = model.generate(IDS, max_new_tokens=3, do_sample=False)
        without_logits(model)
        found = model(**BATCH, output_hidden_states=True)
        assert not made
        assert found.hidden_states[-1].equal(expected.hidden_states[-1])
        assert found.logits.equal(expected.logits)
        assert model.generate(IDS, max_new_tokens=3, do_sample=False).equal(tokens)


def test_no_tensor_is_as_large_as_the_logits():
    def largest(model):
        with torch.profiler.profile(profile_memory=True) as profile:
            model(tokens, labels=tokens).loss.backward()
        return max(event.self_cpu_memory_usage for event in profile.events())

    tokens = torch.arange(600).reshape(2, 300)
    model = build("Llama", vocab_size=10_000, max_position_embeddings=300)
    logits = 600 * 10_000 * 4
    assert largest(model) >= logits
    without_logits(model, max_memory=2e6)
    assert largest(model) <= logits / 8


def test_what_is_saved_is_what_was(tmp_path):
    model = without_logits(build("Llama, tied"))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert type(again.lm_head) is torch.nn.Linear
    assert again(IDS).logits.equal(model(IDS).logits)
    model.tie_weights()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_checkpoints_of_activations_and_a_compiled_body(made):
    model = build("Llama")
    expected = results(model, **BATCH)
    without_logits(model, max_memory=1e6)
    assert model.lm_head.max_memory == 1e6
    model.activation_checkpointing_enable()
    torch.testing.assert_close(results(model, **BATCH), expected)
    model.activation_checkpointing_disable()
    model.base_model.compile(backend="aot_eager")
    torch.testing.assert_close(results(model, **BATCH), expected)
    assert not made


# --- the trainer --------------------------------------------------------------------------------------------


def pad(rows):
    n = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (0, n - len(row))) for row in rows])
    return {"input_ids": ids, "labels": ids.masked_fill(ids == 0, -100), "attention_mask": (ids != 0).long()}


def curve(model, folder, **options):
    """Losses of some steps of a trainer, and the loss on its data afterwards."""
    generator = torch.Generator().manual_seed(1)
    data = [torch.randint(3, V, (n,), generator=generator) for n in (5, 9, 7, 9, 3, 8, 9, 9, 4, 6, 7, 8)]
    arguments = transformers.TrainingArguments(
        folder,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=5,
        logging_steps=1,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **options,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=data, eval_dataset=data, data_collator=pad)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 5
    return [*losses, trainer.evaluate()["eval_loss"]]


@pytest.mark.parametrize("options", [{}, {"bf16": True}], ids=["float32", "autocast"])
def test_a_trainer_gives_the_same_curve(made, tmp_path, options):
    pytest.importorskip("accelerate")
    expected = curve(build("Llama"), tmp_path, **options)
    found = curve(without_logits(build("Llama")), tmp_path, **options)
    assert found == pytest.approx(expected, rel=3e-3 if options else 1e-6)
    assert not made


# --- errors -------------------------------------------------------------------------------------------------


def test_models_that_are_refused():
    with raises(ll.DtypeError, "without_logits: the head of LlamaModel is None; expected a torch.nn.Linear"):
        without_logits(build("Llama").model)
    with raises(ll.DtypeError, "without_logits: the head of Linear is None; expected a torch.nn.Linear"):
        without_logits(torch.nn.Linear(2, 3))
    model = build("Llama")
    model.set_output_embeddings(torch.nn.Sequential(model.lm_head))
    with raises(
        ll.DtypeError,
        "without_logits: the head of LlamaForCausalLM is a Sequential; expected a torch.nn.Linear",
    ):
        without_logits(model)
    again = without_logits(build("Llama"))
    assert type(without_logits(again).lm_head) is LinearHead
