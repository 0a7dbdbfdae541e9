"""Adapters go both ways between this library and peft on the reference library's model."""

import copy

import pytest
import torch

from kosmos2.config import Config
from kosmos2.train.lora import Lora, adapter_of, attach, detach, load_adapter, save_adapter
from kosmos2.weights.adapters import Adapter, merge_adapter, read_adapter, write_adapter
from kosmos2.weights.save import save_network

peft = pytest.importorskip("peft", reason="peft is what we compare with")
transformers = pytest.importorskip("transformers", reason="transformers is what we compare with")

TARGETS = ("vision.layers.*", "connector.*", "decoder.layers.*")
THEIR_TARGETS = r".*(q_proj|v_proj|fc1|dense)"


@pytest.fixture(scope="module")
def inputs():
    config, generator = Config.tiny(), torch.Generator().manual_seed(51)
    size, latents = config.vision.image_size, config.latents
    ids = torch.randint(4, config.text.vocabulary, (2, latents + 12), generator=generator)
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 2 : 2 + latents] = True
    return ids, slots, torch.randn(2, 3, size, size, generator=generator)


@torch.no_grad()
def our_logits(network, inputs):
    ids, slots, pixels = inputs
    return network.eval()(ids, pixels=pixels, slots=slots)


@torch.no_grad()
def their_logits(model, inputs):
    ids, slots, pixels = inputs
    return model.eval()(
        pixel_values=pixels, input_ids=ids, image_embeds_position_mask=slots.long()
    ).logits


@torch.no_grad()
def loud(tensors):
    random = torch.Generator().manual_seed(6)
    for tensor in tensors:
        tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.1)


def assert_same(one, other, but_not):
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert (one - but_not).norm() > 0.01 * but_not.norm(), "the adapter changes next to nothing"


@pytest.fixture
def network(ours):
    network = attach(copy.deepcopy(ours), Lora(rank=3, alpha=7.5, targets=TARGETS))
    loud(network.get_parameter(name) for name, p in network.named_parameters() if p.requires_grad)
    return network


def test_what_we_learn_peft_puts_on_the_reference(network, ours, theirs, inputs, tmp_path):
    save_adapter(network, tmp_path, reference=True)
    adapted = peft.PeftModel.from_pretrained(copy.deepcopy(theirs), tmp_path)
    logits = their_logits(adapted, inputs)
    assert_same(our_logits(network, inputs), logits, our_logits(ours, inputs))
    again = load_adapter(copy.deepcopy(ours), tmp_path)
    assert torch.equal(our_logits(again, inputs), our_logits(network, inputs))


def test_a_saved_adapter_is_converted_without_the_network_it_came_from(
    network, ours, theirs, inputs, tmp_path
):
    save_adapter(network, tmp_path / "ours")
    write_adapter(tmp_path / "theirs", read_adapter(tmp_path / "ours", ours), reference=True)
    adapted = peft.PeftModel.from_pretrained(copy.deepcopy(theirs), tmp_path / "theirs")
    assert_same(
        their_logits(adapted, inputs), our_logits(network, inputs), our_logits(ours, inputs)
    )


def test_merged_into_the_released_layout_the_reference_answers_the_same(network, inputs, tmp_path):
    beside = our_logits(network, inputs)
    save_network(tmp_path, detach(network))
    model = transformers.Kosmos2ForConditionalGeneration.from_pretrained(tmp_path)
    torch.testing.assert_close(their_logits(model, inputs), beside, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.1},
    ],
    ids=["plain", "rank-stabilised", "several ranks", "another start"],
)
def test_what_peft_learns_on_the_reference_we_read(ours, theirs, inputs, tmp_path, how):
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=THEIR_TARGETS, **how)
    adapted = peft.get_peft_model(copy.deepcopy(theirs), config)
    loud(p for p in adapted.parameters() if p.requires_grad)
    adapted.save_pretrained(tmp_path)
    logits = their_logits(adapted, inputs)
    merged = merge_adapter(copy.deepcopy(ours), read_adapter(tmp_path, ours))
    assert_same(our_logits(merged, inputs), logits, our_logits(ours, inputs))
    if "rank_pattern" not in how:
        attached = load_adapter(copy.deepcopy(ours), tmp_path)
        assert_same(our_logits(attached, inputs), logits, our_logits(ours, inputs))


def test_peft_puts_what_it_reads_of_ours_on_our_own_network(network, ours, inputs, tmp_path):
    save_adapter(network, tmp_path)
    config = peft.PeftConfig.from_pretrained(tmp_path)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 7.5, 0.05)
    adapted = peft.PeftModel.from_pretrained(copy.deepcopy(ours), tmp_path)
    logits = our_logits(adapted.base_model.model, inputs)
    assert torch.equal(logits, our_logits(network, inputs))
    own: Adapter = adapter_of(adapted.base_model.model)
    assert own.changes.keys() == adapter_of(network).changes.keys()
