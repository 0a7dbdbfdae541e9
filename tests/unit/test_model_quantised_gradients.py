"""Gradients through int8 weights: as through the floats they stand for; answers stay the same."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kosmos2.config import Config, TextConfig
from kosmos2.errors import ConfigError
from kosmos2.model import packed
from kosmos2.model.joined import join, separate
from kosmos2.model.quantised import (
    Int8Linear,
    Int8Words,
    gradients,
    kernels,
    let_pass,
    quantise,
)
from networks import loud_network

INPUTS, OUTPUTS, WORDS = 48, 80, 70


@pytest.fixture(params=["kernels", "plain"])
def kernel(request, monkeypatch):
    """With the packed weights of this processor, and with those of one that has none."""
    if request.param == "plain":
        monkeypatch.setattr(kernels, "counts_right", lambda kernel: False)


def settled(layer, weight):
    layer.fill(weight)
    layer.settle()
    layer.passes = True
    return layer.requires_grad_(False)


@pytest.fixture
def layer(kernel):
    torch.manual_seed(0)
    linear = nn.Linear(INPUTS, OUTPUTS)
    layer = Int8Linear(INPUTS, OUTPUTS)
    layer.bias = linear.bias
    return settled(layer, linear.weight.detach() * torch.logspace(-2, 2, OUTPUTS)[:, None])


@pytest.fixture
def words(kernel):
    torch.manual_seed(0)
    return settled(Int8Words(WORDS, INPUTS), torch.randn(WORDS, INPUTS))


def gradient(answer, x, wanted):
    x = x.clone().requires_grad_()
    (answer(x) * wanted).sum().backward()
    return x.grad


def worth(layer):
    """The floats that the whole numbers stand for."""
    numbers, size = layer.plain()
    return numbers.float() * size[:, None]


def test_gradients_are_those_of_the_weights_as_they_are_worth(layer):
    x, wanted = torch.randn(2, 5, INPUTS), torch.randn(2, 5, OUTPUTS)
    expected = gradient(lambda x: F.linear(x, worth(layer)), x, wanted)
    torch.testing.assert_close(gradient(layer, x, wanted), expected, rtol=1e-5, atol=1e-4)


def test_in_pieces_it_is_the_same(layer, monkeypatch):
    x, wanted = torch.randn(7, INPUTS), torch.randn(7, OUTPUTS)
    whole = gradient(layer, x, wanted)
    monkeypatch.setattr(gradients, "AT_ONCE", 3 * INPUTS)
    torch.testing.assert_close(gradient(layer, x, wanted), whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("way", ["autocast", "all"])
def test_in_bfloat16_it_is_nearly_the_same(layer, way, monkeypatch):
    kinds = []
    back = gradients.back
    monkeypatch.setattr(
        gradients, "back", lambda *given: (kinds.append(given[-1]), back(*given))[1]
    )
    x, wanted = torch.randn(7, INPUTS), torch.randn(7, OUTPUTS)
    whole = gradient(layer, x, wanted)
    if way == "all":
        half = gradient(layer, x.bfloat16(), wanted.bfloat16())
    else:
        with torch.autocast("cpu", torch.bfloat16):
            half = gradient(layer, x, wanted)
    assert kinds == [torch.float32, torch.bfloat16]
    assert 0 < (half.float() - whole).norm() < 0.01 * whole.norm()


def test_an_answer_is_the_same_to_the_bit_whether_gradients_are_wanted(layer, words):
    x = torch.randn(6, INPUTS)
    for answer in (layer, words.score):
        assert torch.equal(answer(x.clone().requires_grad_()), answer(x))
        with torch.no_grad():
            assert torch.equal(answer(x.clone().requires_grad_()), answer(x))


@pytest.mark.parametrize("some", [None, slice(20, 31)], ids=["all words", "some words"])
def test_scores_of_words_let_gradients_through(words, some):
    x = torch.randn(4, INPUTS)
    table = words(torch.arange(WORDS))[some or slice(None)]
    wanted = torch.randn(4, len(table))
    expected = gradient(lambda x: F.linear(x, table), x, wanted)
    got = gradient(lambda x: words.score(x, some), x, wanted)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def test_there_is_no_second_way_back(layer):
    x = torch.randn(3, INPUTS, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.fixture
def network():
    return loud_network(Config.tiny(), noise=0.02)


def through_all(network):
    random = torch.Generator().manual_seed(3)
    embedded = torch.randn(2, 6, network.config.text.width, generator=random, requires_grad=True)
    size = network.config.vision.image_size
    pixels = torch.randn(1, 3, size, size, generator=random, requires_grad=True)
    (network(None, embedded=embedded).logsumexp(-1).sum() + network.look(pixels).sum()).backward()
    return embedded.grad, pixels.grad


def test_through_a_whole_network_they_are_nearly_the_float_ones(network):
    few = let_pass(quantise(copy.deepcopy(network), "int8"))
    for ours, exact in zip(through_all(few), through_all(network), strict=True):
        assert F.cosine_similarity(ours.flatten(), exact.flatten(), 0) > 0.98
    assert all(parameter.grad is None for parameter in few.parameters())


def test_joined_layers_pass_what_separate_ones_do(network):
    few = let_pass(quantise(network, "int8"))
    attention = few.decoder.layers[1].attention
    x = torch.randn(1, 6, few.config.text.width)
    before, joined = attention(x), through_all(few)
    if attention.query.together is None:
        pytest.skip("nothing is joined on this processor")
    for layer in (*few.decoder.layers, *few.vision.layers):
        separate(layer.attention)
    assert attention.query.together is None
    assert torch.equal(attention(x), before)
    for one, other in zip(joined, through_all(few), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    join(few)
    assert attention.query.together is not None
    assert torch.equal(attention(x), before)


def test_training_is_allowed_only_where_gradients_pass(network):
    few = quantise(network, "int8")
    with pytest.raises(ConfigError, match="cannot be trained"):
        few.train()
    assert let_pass(few).train().decoder.words.training
    let_pass(few.eval(), False)
    with pytest.raises(ConfigError, match="no gradients through quantised weights"):
        few.decoder.logits(torch.zeros(1, 1, few.config.text.width, requires_grad=True))


def test_what_has_no_way_back_is_refused(network):
    even = TextConfig(vocabulary=301, width=64, layers=1, heads=4, ffn_width=128, positions=90)
    with pytest.raises(ConfigError, match="int8 weights, not int4"):
        let_pass(quantise(loud_network(replace(Config.tiny(), text=even)), "int4"))
    network = packed.pack(network)
    if any(isinstance(module, packed.PackedLinear) for module in network.modules()):
        with pytest.raises(ConfigError, match="load_network"):
            let_pass(network)
