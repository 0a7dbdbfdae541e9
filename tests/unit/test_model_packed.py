"""Packed float32 weights: the same answers, the same files, and no learning."""

import copy

import pytest
import torch

from kosmos2 import Kosmos2
from kosmos2.config import Config
from kosmos2.errors import ConfigError
from kosmos2.model import Cache
from kosmos2.model.packed import PackedLinear, PackedWords, can_pack, pack
from kosmos2.model.quantised import quantise
from kosmos2.weights.load import load_network
from kosmos2.weights.save import save_network
from networks import loud_network

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu"), torch.float32),
    reason="this processor's torch has no kernel for packed float32 weights",
)
IDS = torch.tensor([[0, 17, 40, 30, 8], [0, 5, 5, 6, 7]])


@pytest.fixture
def plain():
    return loud_network(Config.tiny(), noise=0.05).eval()


@pytest.fixture
def packed(plain):
    return pack(copy.deepcopy(plain))


def pixels_for(network, count=2):
    side = network.config.vision.image_size
    random = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, side, side, generator=random)


def test_every_matrix_is_packed(packed):
    left = [n for n, m in packed.named_modules() if type(m) is torch.nn.Linear]
    assert not left
    assert all(m.packed for m in packed.modules() if isinstance(m, PackedLinear | PackedWords))


@torch.no_grad()
def test_packed_answers_are_those_of_the_plain_order(plain, packed):
    pixels = pixels_for(plain)
    torch.testing.assert_close(packed.look(pixels), plain.look(pixels), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed(IDS), plain(IDS), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_row_is_answered_alone_as_in_company(packed):
    whole = packed(IDS)
    for row in range(len(IDS)):
        torch.testing.assert_close(packed(IDS[row : row + 1])[0], whole[row], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_cache_changes_nothing(packed):
    cache = Cache()
    steps = [packed(IDS[:, at : at + 1], cache=cache) for at in range(IDS.shape[1])]
    torch.testing.assert_close(torch.cat(steps, dim=1), packed(IDS), atol=1e-5, rtol=1e-5)


def test_what_is_stored_is_what_was_packed_to_the_bit(plain, packed, tmp_path):
    expected = plain.state_dict()
    found = packed.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    save_network(tmp_path / "again", packed)
    again = load_network(tmp_path / "again").state_dict()
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_packing_while_loading_is_packing_afterwards(plain, packed, tmp_path):
    save_network(tmp_path / "model", plain)
    loaded = load_network(tmp_path / "model", pack=True)
    assert isinstance(loaded.decoder.words, PackedWords)
    with torch.no_grad():
        assert torch.equal(loaded(IDS), packed(IDS))


def test_other_types_stay_as_they_are(plain, tmp_path):
    save_network(tmp_path / "model", plain)
    loaded = load_network(tmp_path / "model", dtype=torch.bfloat16, pack=True)
    assert not any(isinstance(module, PackedLinear) for module in loaded.modules())


def test_a_packed_network_moves_to_another_type_and_back(packed):
    before = packed.state_dict()
    packed.to(torch.float64)
    assert all(m.packed is None for m in packed.modules() if isinstance(m, PackedLinear))
    with torch.no_grad():
        wide = packed(IDS)
    packed.to(torch.float32)
    assert all(m.packed for m in packed.modules() if isinstance(m, PackedLinear | PackedWords))
    with torch.no_grad():
        torch.testing.assert_close(packed(IDS).double(), wide.double(), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(packed.state_dict()[name], before[name]) for name in before)


def test_gradients_go_through_but_not_to_the_weights(plain, packed):
    embedded = torch.randn(1, 4, plain.config.text.width)
    ours, theirs = (embedded.clone().requires_grad_() for _ in range(2))
    for network, given in ((packed, ours), (plain, theirs)):
        network(None, embedded=given).square().mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    assert all(parameter.grad is None for parameter in packed.parameters())


def test_training_is_refused_with_the_way_out(packed):
    with pytest.raises(ConfigError, match="load_network"):
        packed.train()


def test_a_packed_network_is_not_quantised(packed):
    with pytest.raises(ConfigError, match="quantise a plain one"):
        quantise(packed, "int8")


def test_a_loaded_model_is_packed_and_answers_as_the_plain_network():
    model = Kosmos2.load("demo", dtype="float32", device="cpu")
    assert isinstance(model.network.decoder.words, PackedWords)
    plain = Kosmos2(load_network_of(model), model.tokenizer)
    image = torch.arange(64 * 64 * 3).reshape(64, 64, 3).remainder(251).to(torch.uint8).numpy()
    ours, theirs = model.caption(image), plain.caption(image)
    assert (ours.text, ours.boxes()) == (theirs.text, theirs.boxes())


def load_network_of(model):
    """The same weights in their plain order."""
    from kosmos2.model import Network

    network = Network(model.config)
    network.load_state_dict(model.network.state_dict())
    return network


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_query_key_and_value_in_one_product_are_the_three_products(plain, kind):
    network = pack(plain) if kind == "float32" else quantise(plain, kind)
    attention = network.decoder.layers[0].attention
    assert attention.query.together is not None
    x = torch.randn(2, 3, plain.config.text.width)
    with torch.no_grad():
        three = [layer(x) for layer in (attention.query, attention.key, attention.value)]
        torch.testing.assert_close(
            attention.query.together(x), torch.cat(three, dim=-1), atol=1e-6, rtol=1e-6
        )


def test_a_cross_attention_is_not_joined(packed):
    assert packed.connector.attention.query.together is None
