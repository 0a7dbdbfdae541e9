"""A matrix that learns gives what PyTorch's own would, whoever multiplies."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kosmos2.config import Config
from kosmos2.model import Network
from kosmos2.model import product as room
from kosmos2.model.product import Linear, can_multiply, is_quicker, linear


@pytest.fixture(autouse=True)
def _as_with_avx512(monkeypatch):
    monkeypatch.setattr(room, "is_quicker", lambda: True)


needs_kernel = pytest.mark.skipif(not can_multiply(), reason="oneDNN cannot multiply here")


def grads(multiply, x, weight, bias, grad):
    leaves = [one.clone().requires_grad_() for one in (x, weight, bias)]
    product = multiply(*leaves)
    product.backward(grad)
    return [product.detach(), *(leaf.grad for leaf in leaves)]


@needs_kernel
@pytest.mark.parametrize(
    "shape", [(3, 7, 36), (2, 5, 100), (1, 8), (4, 1), (5, 1, 6, 3), (70, 130)], ids=str
)
@pytest.mark.parametrize("outputs", [1, 56, 1309])
def test_products_and_gradients_are_those_of_pytorch(shape, outputs):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=random)
    weight = torch.randn(outputs, shape[-1], generator=random)
    bias = torch.randn(outputs, generator=random)
    grad = torch.randn(*shape[:-1], outputs, generator=random)
    ours = grads(linear, x, weight, bias, grad)
    for one, other in zip(ours, grads(F.linear, x, weight, bias, grad), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert one.is_contiguous()


@needs_kernel
def test_what_lies_in_another_order_is_multiplied_rightly():
    random = torch.Generator().manual_seed(2)
    x = torch.randn(6, 5, 4, generator=random).permute(2, 1, 0)
    weight = torch.randn(6, 9, generator=random).t()
    grad = torch.randn(9, 5, 4, generator=random).permute(2, 1, 0)
    for one, other in zip(
        grads(linear, x, weight, torch.zeros(9), grad),
        grads(F.linear, x, weight, torch.zeros(9), grad),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@needs_kernel
def test_frozen_weights_get_no_gradient_and_hold_no_rows():
    layer, x = Linear(8, 5).requires_grad_(False), torch.randn(3, 8, requires_grad=True)
    heard = layer(x)
    assert heard.grad_fn.saved_tensors[0] is None
    heard.sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 8))
    assert layer.weight.grad is None
    assert layer.bias.grad is None


@pytest.mark.parametrize(
    "case", ["no gradients", "float64", "autocast", "no rows", "no kernel", "AVX2"]
)
def test_all_else_is_pytorchs_own(case, monkeypatch):
    layer = Linear(8, 5)
    x = torch.randn(0 if case == "no rows" else 3, 8)
    if case == "float64":
        layer, x = layer.double(), x.double()
    if case == "no kernel":
        monkeypatch.setattr(room, "can_multiply", lambda: False)
    if case == "AVX2":
        monkeypatch.setattr(room, "is_quicker", lambda: False)
    monkeypatch.setattr(room._Product, "apply", lambda *_: pytest.fail("oneDNN was asked"))
    with (
        torch.set_grad_enabled(case != "no gradients"),
        torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"),
    ):
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@needs_kernel
def test_a_network_learns_the_same_either_way(monkeypatch):
    config, random = Config.tiny(), torch.Generator().manual_seed(3)
    network = Network(config).eval()  # no dropout
    network.initialise(random)
    size, latents = config.vision.image_size, config.latents
    ids = torch.randint(4, config.text.vocabulary, (2, latents + 12), generator=random)
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 2 : 2 + latents] = True
    pixels = torch.randn(2, 3, size, size, generator=random)
    found = []
    for way in (True, False):
        monkeypatch.setattr(room, "can_multiply", lambda way=way: way)
        network.zero_grad()
        loss = network.loss(ids, ids, pixels=pixels, slots=slots)
        loss.backward()
        found.append([loss.detach(), *(one.grad for one in network.parameters())])
    assert any(not torch.equal(one, other) for one, other in zip(*found, strict=True))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_it_is_a_linear_layer_to_all_who_ask():
    layer = Linear(4, 3)
    assert isinstance(layer, nn.Linear)
    assert list(layer.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("processor", "quicker"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False)]
)
def test_the_processor_alone_says_who_multiplies(processor, quicker, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    assert is_quicker.__wrapped__() is quicker
