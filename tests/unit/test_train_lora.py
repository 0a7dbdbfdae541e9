"""LoRA: only thin matrices learn, their files are peft's, and merged they are the same network."""

import copy
import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from kosmos2 import Kosmos2
from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError, RecipeError
from kosmos2.model import packed
from kosmos2.model.quantised import Int8Linear, kind_of, quantise
from kosmos2.train.again import compute_again
from kosmos2.train.lora import (
    Lora,
    adapter_of,
    attach,
    detach,
    load_adapter,
    merge,
    save_adapter,
    unmerge,
)
from kosmos2.weights.adapters import linear_layers, read_adapter, write_adapter
from kosmos2.weights.load import load_network
from kosmos2.weights.save import SaveError, save_network
from networks import loud_network

pytest.importorskip("peft", reason="peft makes the thin matrices")

CONFIG = Config.tiny(vocabulary=301)
IDS = torch.randint(4, 300, (2, 12 + CONFIG.latents), generator=torch.Generator().manual_seed(1))
SLOTS = torch.zeros_like(IDS, dtype=torch.bool)
SLOTS[:, 2 : 2 + CONFIG.latents] = True
SIDE = CONFIG.vision.image_size
PIXELS = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
LORA = Lora(rank=3, alpha=5.0, dropout=0.0)
EVERYWHERE = replace(LORA, targets=("vision.layers.*", *LORA.targets))


@pytest.fixture(scope="module")
def plain():
    return loud_network(CONFIG, noise=0.05)


@pytest.fixture(params=["float32", "int8"])
def base(request):
    return request.param


@pytest.fixture
def network(plain):
    return copy.deepcopy(plain)


@torch.no_grad()
def answers(network):
    return network.eval()(IDS, pixels=PIXELS, slots=SLOTS)


def loss(network):
    return network.loss(IDS, IDS, pixels=PIXELS, slots=SLOTS)


def learning(network):
    return {name: one for name, one in network.named_parameters() if one.requires_grad}


@torch.no_grad()
def loud(network, spread=0.05):
    """As if much had been learnt."""
    random = torch.Generator().manual_seed(4)
    for change in adapter_of(network).changes.values():
        change.up.normal_(0, spread, generator=random)
        change.down.normal_(0, spread * 4, generator=random)
    return network


def adapted(network, settings=EVERYWHERE):
    return loud(attach(network, settings))


def apart(one, other):
    return float((one - other).norm() / other.norm())


def test_at_first_nothing_changes(network, base):
    before = answers(quantise(copy.deepcopy(network), "int8") if base == "int8" else network)
    attach(network, replace(EVERYWHERE, base=base))
    assert kind_of(network) == (None if base == "float32" else "int8")
    assert torch.equal(answers(network), before)


def test_only_thin_matrices_want_gradients_and_they_are_in_float32(network):
    attach(network, replace(LORA, base="bfloat16"))
    assert network.dtype == torch.bfloat16
    assert {".lora_A." in name or ".lora_B." in name for name in learning(network)} == {True}
    assert {one.dtype for one in learning(network).values()} == {torch.float32}
    assert apart(answers(network), answers(loud_network(CONFIG, noise=0.05))) < 0.1
    loss(network.train()).backward()
    assert all(one.grad is not None for one in learning(network).values())


def test_learning_changes_the_adapter_and_nothing_else(network, base):
    attach(network, replace(LORA, base=base, dropout=0.1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.AdamW(learning(network).values(), lr=3e-3)
    first = float(loss(network.eval()).detach())
    for _ in range(6):
        optimiser.zero_grad()
        loss(network.train()).backward()
        optimiser.step()
    assert float(loss(network.eval()).detach()) < first - 0.2
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(learning(network))


def test_an_int8_base_teaches_nearly_what_a_float_one_does(network):
    exact, few = adapted(copy.deepcopy(network)), adapted(network, replace(EVERYWHERE, base="int8"))
    for one in (exact, few):
        loss(one).backward()
    ours, theirs = learning(few), learning(exact)
    assert ours.keys() == theirs.keys()
    whole = [torch.cat([p.grad.flatten() for p in all_of.values()]) for all_of in (ours, theirs)]
    assert torch.nn.functional.cosine_similarity(*whole, 0) > 0.97


def test_blocks_computed_twice_give_the_same_gradients(network, base):
    adapted(network, replace(EVERYWHERE, base=base))
    loss(network).backward()
    once = {name: one.grad.clone() for name, one in learning(network).items()}
    network.zero_grad()
    compute_again(network)
    loss(network).backward()
    for name, one in learning(network).items():
        torch.testing.assert_close(one.grad, once[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("target", ["query", "key", "value"])
def test_a_single_target_is_heard_where_three_answer_as_one(network, base, target):
    """On an int8 base query, key and value are one matrix until an adapter stands beside one."""
    settings = replace(LORA, base=base, targets=(f"decoder.layers.*.{target}",))
    attach(network, settings)
    before = answers(network)
    assert apart(answers(loud(network, spread=0.5)), before) > 0.01


def test_a_target_is_an_end_or_a_pattern(network):
    layers = list(linear_layers(network))
    narrow = replace(LORA, targets=("ffn.narrow", "connector.*")).among(layers)
    assert {name for name in layers if "narrow" in name} < set(narrow)
    assert len(narrow) == CONFIG.vision.layers + CONFIG.text.layers + 5
    assert not any(name.startswith("vision") for name in LORA.among(layers))


@pytest.mark.parametrize(
    ("target", "hint"),
    [("quary", "did you mean 'query'"), ("decoder.words", "no linear layer"), ("xyz", "there are")],
)
def test_a_target_that_is_not_there_is_told(network, target, hint):
    with pytest.raises(RecipeError, match=f"{target}.*{hint}|{hint}.*{target}"):
        attach(network, replace(LORA, targets=(target,)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"rank": True},
        {"alpha": 0.0},
        {"dropout": 1.0},
        {"targets": ()},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Lora(**wrong)


def test_merged_it_answers_the_same_and_unmerged_the_weights_are_back(network, plain):
    adapted(network)
    beside = answers(network)
    assert apart(beside, answers(plain)) > 0.05
    assert apart(answers(merge(merge(network))), beside) < 1e-4
    unmerge(unmerge(network))
    for name, change in adapter_of(network).changes.items():
        before = plain.get_submodule(name).weight
        after = network.get_submodule(name).base_layer.weight
        most = 2**-23 * (before.abs() + change.whole().abs())
        assert (after - before).abs().le(most).all(), name
    assert apart(answers(network), beside) < 1e-4


@pytest.mark.parametrize("merged", [True, False])
def test_a_detached_network_is_a_plain_one(network, plain, merged, tmp_path):
    adapted(network)
    beside = answers(network)
    assert detach(network, merged=merged) is network
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert len(learning(network)) == len(list(plain.parameters()))
    if merged:
        save_network(tmp_path, network)
        assert apart(answers(load_network(tmp_path)), beside) < 1e-4
    else:
        assert torch.equal(answers(network), answers(plain))
    attach(network, LORA)


def test_a_detached_int8_network_answers_as_before(network):
    before = answers(quantise(copy.deepcopy(network), "int8"))
    attach(network, replace(EVERYWHERE, base="int8"))
    with pytest.raises(ConfigError, match=r"round it away.*adapter="):
        detach(network)
    assert torch.equal(answers(detach(network, merged=False)), before)
    with pytest.raises(ConfigError, match="cannot be trained"):
        network.train()


@pytest.mark.parametrize("reference", [False, True], ids=["our names", "the reference's"])
def test_an_adapter_comes_back_to_the_bit(network, plain, base, reference, tmp_path):
    adapted(network, replace(EVERYWHERE, base=base, dropout=0.25))
    save_adapter(network, tmp_path, reference=reference)
    names = list(load_file(tmp_path / "adapter_model.safetensors"))
    assert all(name.startswith("base_model.model.") for name in names)
    assert any("self_attn.q_proj" in name for name in names) == reference
    again = load_adapter(copy.deepcopy(plain), tmp_path, base=base)
    assert torch.equal(answers(again), answers(network))
    assert learning(again).keys() == learning(network).keys()
    assert adapter_of(again).dropout == 0.25
    loss(again.train()).backward()


@pytest.mark.parametrize("how", [{}, {"quantize": "int8"}, {"quantize": "int4"}, {"pack": True}])
def test_loaded_with_a_model_it_is_merged_before_anything_is_rounded(network, how, tmp_path):
    save_network(tmp_path / "model", network)
    save_adapter(adapted(network), tmp_path / "adapter")
    loaded = load_network(tmp_path / "model", adapter=tmp_path / "adapter", **how)
    expected = detach(network)
    if "quantize" in how:
        assert torch.equal(answers(loaded), answers(quantise(expected, how["quantize"])))
    else:
        assert apart(answers(loaded), answers(expected)) < 1e-5


def test_a_model_takes_its_adapter_along(tiny_model, tiny_folder, tmp_path):
    network = adapted(load_network(tiny_folder))
    save_adapter(network, tmp_path / "adapter")
    model = Kosmos2.load(tiny_folder, adapter=tmp_path / "adapter", dtype="float32", device="cpu")
    model.save(tmp_path / "merged")
    assert apart(answers_of(load_network(tmp_path / "merged")), answers_of(network)) < 1e-4
    assert apart(answers_of(network), answers_of(tiny_model.network)) > 0.01


def answers_of(network):
    with torch.no_grad():
        return network.eval()(IDS)


def test_weights_that_are_rounded_already_take_no_adapter(network, tmp_path):
    save_adapter(adapted(copy.deepcopy(network)), tmp_path / "adapter")
    save_network(tmp_path / "few", quantise(network, "int8"))
    with pytest.raises(ConfigError, match=r"cannot be merged.*quantize='int8'"):
        load_network(tmp_path / "few", adapter=tmp_path / "adapter")
    assert isinstance(load_network(tmp_path / "few").connector.project, Int8Linear)
    load_adapter(load_network(tmp_path / "few"), tmp_path / "adapter")


def test_what_nothing_can_be_attached_to_is_refused(network, tmp_path):
    save_adapter(adapted(copy.deepcopy(network)), tmp_path)
    with pytest.raises(ConfigError, match="no adapter"):
        save_adapter(network, tmp_path)
    few = quantise(copy.deepcopy(network), "int8")
    with pytest.raises(ConfigError, match="base is float32, but the network is int8"):
        attach(few, LORA)
    stiff = packed.pack(copy.deepcopy(network))
    if any(isinstance(module, packed.PackedLinear) for module in stiff.modules()):
        for attempt in (lambda: attach(stiff, LORA), lambda: load_adapter(stiff, tmp_path)):
            with pytest.raises(ConfigError, match="load_network"):
                attempt()
    attach(network, LORA)
    for attempt in (lambda: attach(network, LORA), lambda: load_adapter(network, tmp_path)):
        with pytest.raises(ConfigError, match="has an adapter already"):
            attempt()


@pytest.fixture(scope="module")
def saved(plain, tmp_path_factory):
    """An adapter that fits."""
    folder = tmp_path_factory.mktemp("adapters") / "right"
    save_adapter(attach(copy.deepcopy(plain), LORA), folder)
    return folder


def setting(name, value):
    def spoil(folder):
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))

    return spoil


def tensors(change):
    def spoil(folder):
        file = folder / "adapter_model.safetensors"
        held = load_file(file)
        change(held)
        save_file(held, file)

    return spoil


ONE = "base_model.model.decoder.layers.2.ffn.narrow.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "no adapter_model"),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(
                folder / "adapter_model.bin"
            ),
            "pickle and is never opened",
        ),
        (setting("peft_type", "IA3"), "peft_type is 'IA3'"),
        (setting("use_dora", True), "use_dora is true; only plain LoRA"),
        (setting("init_lora_weights", "pissa"), "init_lora_weights"),
        (setting("modules_to_save", ["decoder.words"]), "modules_to_save"),
        (setting("lora_alpha", None), "lora_alpha is None"),
        (tensors(lambda held: held.pop(ONE)), "narrow has only one of its two"),
        (tensors(lambda held: held.update({ONE: torch.zeros(3, 7)})), r"\(3, 7\), for weights of"),
        (tensors(lambda held: held.update({ONE: torch.zeros(4, 88)})), r"\(4, 88\), for weights"),
        (tensors(lambda held: held.update({ONE: torch.zeros(3)})), "no matrix of floats"),
        (tensors(lambda held: held.update({"bert.lora_A.weight": torch.zeros(1)})), "no layer for"),
        (tensors(lambda held: held.update({ONE.replace("2", "9"): held[ONE] + 0})), "layers.9"),
        (tensors(lambda held: held.clear()), "changes nothing"),
    ],
)  # fmt: skip
def test_a_foreign_adapter_is_refused_with_what_is_wrong(plain, saved, tmp_path, spoil, complaint):
    folder = shutil.copytree(saved, tmp_path / "foreign")
    read_adapter(folder, plain)
    spoil(folder)
    for take in (read_adapter, lambda folder, network: load_adapter(network, folder)):
        with pytest.raises(CheckpointError, match=complaint):
            take(folder, plain)
    assert not hasattr(plain, "peft_config"), "half of it was attached"


def test_an_adapter_of_another_size_of_model_is_refused(network, tmp_path):
    other = Config.tiny(vocabulary=301)
    other = replace(other, text=replace(other.text, width=28, layers=5))
    save_adapter(attach(loud_network(other), LORA), tmp_path)
    with pytest.raises(CheckpointError, match=r"does not fit this model: .* and \d+ more"):
        load_adapter(network, tmp_path)


def test_several_ranks_can_be_merged_but_not_learnt_on(network, tmp_path):
    adapter = adapter_of(adapted(copy.deepcopy(network)))
    name = "connector.project"
    thin = adapter.changes[name]
    thin = replace(thin, down=thin.down[:2], up=thin.up[:, :2])
    with pytest.raises(ConfigError, match="one rank and one scale, this one has 2"):
        write_adapter(tmp_path, replace(adapter, changes={**adapter.changes, name: thin}))
    write_adapter(tmp_path, adapter)
    held = load_file(tmp_path / "adapter_model.safetensors")
    for half, tensor in (("A", thin.down), ("B", thin.up)):
        held[f"base_model.model.{name}.lora_{half}.weight"] = tensor.detach().contiguous()
    save_file(held, tmp_path / "adapter_model.safetensors")
    assert read_adapter(tmp_path, network).changes[name].scale == LORA.alpha / 2
    with pytest.raises(CheckpointError, match="2 ranks or scales, and can only be merged"):
        load_adapter(network, tmp_path)


def test_what_cannot_be_written_leaves_the_old_one(network, tmp_path, monkeypatch):
    attach(network, LORA)
    save_adapter(network, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(SaveError, match="nothing was changed"):
        save_adapter(loud(network), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_peft_the_extra_is_named(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'kosmos2\[train\]'"):
        attach(network, LORA)


def test_an_adapter_is_read_and_merged_without_peft(network, tmp_path, monkeypatch):
    save_network(tmp_path / "model", network)
    save_adapter(adapted(network), tmp_path / "adapter")
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.setitem(sys.modules, name, None)
    loaded = load_network(tmp_path / "model", adapter=tmp_path / "adapter")
    assert apart(answers(loaded), answers(network)) < 1e-4
