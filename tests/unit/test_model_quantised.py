"""Quantised layers: every kernel gives the plain sums, and no row changes another's answer."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.errors import ConfigError
from kosmos2.model.quantised import (
    KINDS,
    Int4Linear,
    Int8Linear,
    Int8Words,
    kernels,
    kind_of,
    numbers,
    quantise,
)
from kosmos2.model.quantised.fbgemm import Halved
from networks import loud_network

# Sizes that int4's blocks and groups divide; those of Config.tiny() they do not.
EVEN = Config(
    vision=VisionConfig(image_size=30, patch_size=6, width=36, layers=2, heads=3, ffn_width=72),
    text=TextConfig(vocabulary=301, width=64, layers=2, heads=4, ffn_width=128, positions=90),
    latents=5,
)


def need(kernel):
    if not kernels.counts_right(kernel):
        pytest.skip(f"{kernel.__name__} is not here, or not right on this processor")


def random_bytes(rows, inputs, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (rows, inputs), generator=random, dtype=torch.uint8)


def random_weight(outputs, inputs, seed=0):
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=random)
    weight[0] *= 50  # rows and columns of different loudness
    weight[:, 0] *= 9
    return weight


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def without_kernels(monkeypatch):
    """A processor that has none of them."""
    monkeypatch.setattr(kernels, "counts_right", lambda kernel: False)
    monkeypatch.setattr(kernels, "block_here", lambda: None)


def test_a_weight_is_at_most_half_a_step_off():
    weight = random_weight(70, 48)
    before = weight.clone()
    whole, size = numbers.to_int8(weight)
    assert torch.equal(weight, before), "the weights handed in were changed"
    assert (whole.float() * size[:, None] - weight).abs().le(0.5001 * size[:, None]).all()
    assert int(whole.abs().amax()) == 127


def test_converting_in_pieces_changes_nothing(monkeypatch):
    weight = random_weight(192, 64)
    whole, coarse = numbers.to_int8(weight), numbers.to_int4(weight, 32)
    monkeypatch.setattr(numbers, "AT_ONCE", 640)
    assert all(map(torch.equal, whole, numbers.to_int8(weight)))
    assert all(map(torch.equal, coarse, numbers.to_int4(weight, 32)))


@pytest.mark.parametrize("group", [32, 64, 128])
def test_an_int4_weight_is_a_coarser_int8_one(group):
    weight = random_weight(64, 256)
    before = weight.clone()
    packed, grid, _ = numbers.to_int4(weight, group)
    assert torch.equal(weight, before), "the weights handed in were changed"
    steps = numbers.from_blocks(packed)
    coarse, fine = numbers.from_int4(packed, grid), numbers.to_int8(weight)[0]
    assert int(steps.max()) == 15
    assert int(steps.min()) == 0
    width = grid[..., 0].float().T.repeat_interleave(group, 1)
    # Inside the range at most half a step off; what sticks out of it is cut.
    off = (coarse.float() - fine.float()).abs()
    assert off.le(width / 2 + 1).float().mean() > 0.9
    even = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    packed, grid, size = numbers.to_int4(even, group)
    again = numbers.from_int4(packed, grid).float() * size[:, None]
    assert (again - even).norm() < {32: 0.08, 64: 0.09, 128: 0.1}[group] * even.norm()


@settings(deadline=None, max_examples=60)
@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 99))
def test_int4_numbers_always_fit_in_a_byte(low, high, seed):
    random = torch.Generator().manual_seed(seed)
    weight = torch.rand(64, 64, generator=random) * (high - low) + low
    weight[0, 0], weight[1, 0] = 1, -1  # a range as wide as the scale, and lopsided ones
    weight[0, 1] = -1
    packed, grid, _ = numbers.to_int4(weight, 32)
    steps = numbers.from_blocks(packed)
    width, middle = grid.float().transpose(0, 1).unbind(-1)
    exact = (steps.float().unflatten(1, (2, 32)) - 8) * width[..., None] + middle[..., None]
    assert exact.abs().max() <= 127
    assert torch.equal(exact.flatten(1), numbers.from_int4(packed, grid).float())


def test_packing_steps_into_blocks_loses_nothing():
    steps = torch.randint(0, 16, (192, 96), dtype=torch.uint8)
    for block in (numbers.BLOCK, kernels.NARROW):
        packed = numbers.to_blocks(steps, block)
        assert packed.numel() * 2 == steps.numel()
        assert torch.equal(numbers.from_blocks(packed, block), steps)
    assert not torch.equal(numbers.to_blocks(steps), packed)


def test_every_way_from_int4_to_int8_agrees():
    packed, grid, _ = numbers.to_int4(random_weight(192, 96), 32)
    turned = kernels.blocks_to_int8(packed, grid)
    assert torch.equal(turned.T, numbers.from_int4(packed, grid))
    narrow = kernels.Ordered(packed)
    assert torch.equal(kernels.blocks_to_int8(narrow.weights, grid, narrow.block), turned)
    assert torch.equal(narrow.plain(), packed)


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize(
    "kernel",
    [kernels._by_packed, kernels._by_fbgemm, kernels._by_halves, kernels._by_int_mm],
)
def test_an_int8_kernel_gives_the_plain_sums(kernel, rows):
    need(kernel)
    x, whole = random_bytes(rows, 520), numbers.to_int8(random_weight(77, 520))[0]
    assert torch.equal(kernel(x, whole), numbers.plain_product(x, whole))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 17, kernels.MANY])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_the_int4_kernel_gives_the_plain_sums(rows, group):
    if (block := kernels.block_here()) is None:
        pytest.skip("torch has no kernel for int4 on this processor, or none that counts right")
    x = random_bytes(rows, 512)
    packed, grid, _ = numbers.to_int4(random_weight(128, 512), group)
    expected = numbers.plain_product(x, numbers.from_int4(packed, grid)).bfloat16().float()
    here = kernels.Ordered(packed, block).weights
    assert torch.equal(kernels._by_int4pack(x, here, grid), expected)
    assert torch.equal(kernels.product4(x, here, grid, block), expected)
    assert torch.equal(kernels.product4(x, packed, grid), expected)


WITHOUT_VNNI = [
    (kernels._by_fbgemm, Halved),
    (kernels._by_halves, partial(kernels.Packed, halving=True)),
]


@pytest.mark.parametrize(("kernel", "pack"), WITHOUT_VNNI, ids=["fbgemm", "onednn"])
def test_halved_activations_count_the_same(kernel, pack):
    need(kernel)
    x, weight = random_bytes(5, 520), random_weight(77, 520)
    whole, size = numbers.to_int8(weight)
    packed = pack(whole, size)
    expected = numbers.plain_product(x, whole) * size
    torch.testing.assert_close(packed.product(x), expected, rtol=2e-6, atol=0)
    assert torch.equal(packed.plain(), whole)


def test_packed_weights_can_be_unpacked():
    whole, size = numbers.to_int8(random_weight(48, 48))
    packed = kernels.packed8(whole, size)
    if packed is None:
        pytest.skip("no kernel for int8 counts right on this processor")
    assert torch.equal(packed.plain(), whole)


@pytest.mark.parametrize(
    ("kernel", "kind"), [("_by_fbgemm", Halved), ("_by_halves", kernels.Packed)]
)
def test_the_first_kernel_that_counts_right_is_taken(monkeypatch, kernel, kind):
    need(getattr(kernels, kernel))
    right = getattr(kernels, kernel)
    monkeypatch.setattr(kernels, "counts_right", lambda one: one is right)
    assert isinstance(kernels.packed8(*numbers.to_int8(random_weight(48, 48))), kind)


def test_where_no_kernel_counts_right_the_log_says_so_once(without_kernels, caplog):
    kernels._say_slow.cache_clear()
    for _ in range(3):
        assert kernels.packed8(*numbers.to_int8(random_weight(48, 48))) is None
    assert [one.message for one in caplog.records] == [
        "no kernel for int8 counts right on this processor; answers take longer"
    ]


def test_a_kernel_that_counts_wrong_is_not_used():
    assert not kernels.counts_right(lambda x, w: numbers.plain_product(x, w) + 1)
    assert not kernels.counts_right(lambda x, w: torch.ops.aten.no_such_kernel(x, w))


def layers(inputs=96, outputs=128):
    torch.manual_seed(1)
    linear = nn.Linear(inputs, outputs)
    for layer in (Int8Linear(inputs, outputs), Int4Linear(inputs, outputs)):
        layer.fill(linear.weight.detach())
        layer.bias = linear.bias
        layer.settle()
        yield linear, layer.requires_grad_(False).eval()


@pytest.mark.parametrize("which", [0, 1], ids=KINDS)
def test_a_layer_is_near_the_float_one(which):
    linear, layer = list(layers())[which]
    x = torch.randn(2, 5, 96)
    expected = linear(x).detach()
    assert (layer(x) - expected).norm() < [0.02, 0.15][which] * expected.norm()


@pytest.mark.parametrize("which", [0, 1], ids=KINDS)
@pytest.mark.parametrize("rows", [1, 7, 60])
def test_a_layer_is_the_same_without_kernels(which, rows, request):
    (_, fast), (_, plain) = list(layers())[which], list(layers())[which]
    x = torch.randn(rows, 96)
    expected = fast(x)
    request.getfixturevalue("without_kernels")
    plain.unsettle()
    assert torch.allclose(plain(x), expected, rtol=1e-6, atol=1e-6)


def test_int4_weights_in_another_order_are_the_same_layer(monkeypatch):
    (_, layer), (_, narrow) = list(layers())[1], list(layers())[1]
    narrow.unsettle()
    monkeypatch.setattr("kosmos2.model.quantised.int4.as_in_files", lambda: False)
    narrow.settle()
    assert narrow.packed is not None
    assert narrow.weight_int4 is None
    for rows in (2, 60):
        x = torch.randn(rows, 96)
        assert torch.equal(narrow(x), layer(x))
    stored, expected = narrow.state_dict(), layer.state_dict()
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in expected.items())
    narrow.load_state_dict(expected)
    assert torch.equal(narrow(x), layer(x))


@pytest.mark.parametrize("which", [0, 1], ids=KINDS)
@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 90), seed=st.integers(0, 99))
def test_a_row_is_answered_in_company_as_alone(which, rows, seed):
    _, layer = list(layers())[which]
    x = torch.randn(rows, 96, generator=torch.Generator().manual_seed(seed))
    x *= torch.logspace(-3, 3, rows)[:, None]
    together = layer(x)
    assert torch.equal(together, torch.cat([layer(row[None]) for row in x]))


@pytest.mark.parametrize("which", [0, 1], ids=KINDS)
def test_the_order_of_numbers_in_memory_does_not_matter(which):
    linear, layer = list(layers())[which]
    x = torch.randn(96, 5, 2).permute(2, 1, 0)
    assert torch.equal(layer(x), layer(x.contiguous()))
    turned = type(layer)(96, 128)
    turned.fill(linear.weight.detach().T.contiguous().T)
    turned.bias = linear.bias
    turned.settle()
    assert torch.equal(turned.requires_grad_(False)(x), layer(x))


@pytest.mark.parametrize("which", [0, 1], ids=KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_hidden_and_spoils_no_other_row(which, bad):
    _, layer = list(layers())[which]
    x = torch.randn(3, 96)
    expected = layer(x)
    x[1, 5] = bad
    answer = layer(x)
    assert not answer[1].isfinite().any()
    assert torch.equal(answer[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("which", [0, 1], ids=KINDS)
def test_a_row_of_zeros_gives_the_bias(which):
    _, layer = list(layers())[which]
    assert torch.equal(layer(torch.zeros(2, 96)), layer.bias.expand(2, -1))


def test_words_are_looked_up_and_scored_by_the_same_rows():
    words = Int8Words(50, 64)
    table = random_weight(50, 64)
    words.fill(table)
    words.settle()
    ids = torch.tensor([[3, 0], [49, 3]])
    rows = words(ids)
    assert (rows - table[ids]).abs().le(0.51 / 127 * table[ids].abs().amax(-1, True)).all()
    x = torch.randn(4, 64)
    scores = F.linear(x, words.weight)
    assert torch.equal(scores, words.score(x))
    assert torch.equal(F.linear(x, words.weight[20:31]), scores[:, 20:31])
    assert (scores - x @ words(torch.arange(50)).T).norm() < 0.02 * scores.norm()


def test_the_table_of_words_says_what_it_cannot_do():
    words = Int8Words(50, 64)
    with pytest.raises(TypeError, match=r"is no tensor and matmul needs one.*F\.linear"):
        torch.matmul(torch.zeros(2, 50), words.weight)
    with pytest.raises(TypeError, match="only one slice"):
        words.weight[torch.tensor([1])]


def pixels(config, count=2):
    size = config.vision.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=[Config.tiny(), EVEN], ids=["tiny", "even"])
def network(request):
    return loud_network(request.param, noise=0.02)


@torch.no_grad()
def test_a_quantised_network_answers_nearly_the_same(network, kind):
    few = quantise(copy.deepcopy(network), kind)
    ids = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(2))
    expected, answer = network(ids), few(ids)
    assert 0 < (answer - expected).norm() < {"int8": 0.08, "int4": 0.3}[kind] * expected.norm()
    seen = few.look(pixels(network.config))
    assert (seen - network.look(pixels(network.config))).norm() < 0.1 * seen.norm()


def test_every_large_matrix_is_quantised_and_nothing_else(network, kind):
    few = quantise(copy.deepcopy(network), kind)
    assert (kind_of(network), kind_of(few)) == (None, "int8" if network.config != EVEN else kind)
    assert not any(isinstance(m, nn.Linear) for m in few.modules())
    coarse = {name for name, m in few.named_modules() if isinstance(m, Int4Linear)}
    blocks = {n for n, m in network.named_modules() if isinstance(m, nn.Linear) and "decoder" in n}
    assert coarse == (blocks if (kind, network.config) == ("int4", EVEN) else set())
    kept = {n for n, p in few.named_parameters() if p.dim() > 1}
    assert kept == {"vision.patch.weight", "vision.positions.weight", "connector.queries"}
    assert (few.dtype, few.device) == (network.dtype, network.device)


@torch.no_grad()
def test_a_quantised_network_reads_step_by_step_as_at_once(network, kind):
    from kosmos2.model import Cache

    few = quantise(network, kind)
    ids = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(2))
    cache = Cache()
    pieces = [few(ids[:, :5], cache=cache)] + [
        few(ids[:, i : i + 1], cache=cache) for i in range(5, 9)
    ]
    whole = few(ids)
    # Attention sums in another order, and now and then a byte comes out one step away.
    assert (torch.cat(pieces, dim=1) - whole).norm() < 0.02 * whole.norm()


def test_quantised_weights_cannot_be_trained(network, kind):
    few = quantise(network, kind)
    assert not any(p.requires_grad for p in few.parameters())
    with pytest.raises(ConfigError, match="cannot be trained; load the model without quantize"):
        few.train()
    few.eval()
    x = torch.randn(1, 3, few.config.text.width, requires_grad=True)
    with pytest.raises(ConfigError, match="no gradients through quantised weights"):
        few.decoder.logits(x)
    with torch.no_grad():
        few.decoder.logits(x)


@torch.no_grad()
def test_moving_and_converting_leave_the_weights_alone(network, kind):
    few = quantise(network, kind)
    ids = torch.tensor([[0, 5, 7]])
    before, size = few(ids), few.decoder.words.weight_size.clone()
    assert torch.equal(copy.deepcopy(few)(ids), before)
    half = copy.deepcopy(few).to(torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half.decoder.words.weight_size, size)
    assert (half(ids) - before).norm() < 0.1 * before.norm()
    assert torch.equal(few.to("cpu")(ids), before)


@torch.no_grad()
def test_a_state_dict_is_whole(network, kind):
    few = quantise(copy.deepcopy(network), kind)
    other = quantise(loud_network(network.config, seed=9), kind)
    ids = torch.tensor([[0, 5, 7]])
    assert not torch.equal(few(ids), other(ids))
    other.load_state_dict(few.state_dict(), strict=True)
    assert torch.equal(few(ids), other(ids))


def test_another_kind_or_a_second_time_is_refused(network):
    with pytest.raises(ConfigError, match="quantize is 'int3'; there are int8 and int4"):
        quantise(network, "int3")
    quantise(network, "int8")
    with pytest.raises(ConfigError, match="the network is int8 already"):
        quantise(network, "int4")
