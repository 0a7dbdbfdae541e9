"""The work of a step counted from the sizes, against what PyTorch counts while it is done."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kosmos2.config import Config
from kosmos2.model import Network, product
from kosmos2.train import peak
from kosmos2.train.begin import begin
from kosmos2.train.loop import learner_of
from kosmos2.train.parallel import Alone
from kosmos2.train.peak import forward_flops, peak_flops, step_flops, still_blocks
from kosmos2.train.recipe.shipped import named
from kosmos2.train.speed import Speed

SIZES = {"pictures": 2, "rows": 2, "tokens": 21, "scored": 42}


@pytest.fixture(autouse=True)
def _products_that_pytorch_counts(monkeypatch):
    monkeypatch.setattr(product, "can_multiply", lambda: False)


@pytest.fixture(scope="module")
def network() -> Network:
    network = Network(Config.tiny())
    network.initialise(torch.Generator().manual_seed(1))
    return network.train()


def counted(network: Network, *, back: bool, wanted: torch.Tensor | None = None) -> int:
    """What PyTorch counts in two rows of a picture and twelve words, all scored if not `wanted`."""
    config = network.config
    side = config.vision.image_size
    ids = torch.full((2, 21), 7)
    slots = torch.zeros(2, 21, dtype=torch.bool)
    slots[:, 2 : 2 + config.latents] = True
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        latents = network.look(torch.ones(2, 3, side, side))
        read = network.read(ids, latents=latents, slots=slots, wanted=wanted)
        logits = network.decoder.logits(read)
        if back:
            logits.sum().backward()
    return counter.get_total_flops()


def test_looking_and_reading_cost_what_pytorch_counts(network):
    assert forward_flops(network.config, **SIZES) == counted(network, back=False)


@pytest.mark.parametrize(
    "learns", [peak.PARTS, ("connector", "decoder"), ("vision",), ("decoder",), ("connector",)]
)
def test_a_step_costs_what_pytorch_counts_whatever_learns(network, learns):
    for part in peak.PARTS:
        getattr(network, part).requires_grad_(part in learns)
    expected = counted(network, back=True)
    ours = step_flops(network.config, **SIZES, learns=learns)
    # The first matrix that learns needs no gradient of what comes in: we do not tell it apart,
    # and without a learning embedding the tokens themselves need none.
    assert expected <= ours <= 1.07 * expected
    if learns == peak.PARTS:
        assert ours == expected


def test_what_is_not_scored_costs_no_second_half_of_the_last_block(network):
    network.requires_grad_(True)
    wanted = torch.arange(42).view(2, 21) % 3 == 0
    expected = counted(network, back=True, wanted=wanted)
    assert step_flops(network.config, **SIZES | {"scored": 14}) == expected


@pytest.mark.parametrize(
    ("frozen", "still"),
    [
        ((), 0),
        (("layers.0",), 0),  # the patches before it learn
        (("patch", "class_vector", "positions", "first_norm"), 0),
        (("patch", "class_vector", "positions", "first_norm", "layers.0"), 1),
        (("patch", "class_vector", "positions", "first_norm", "layers.1"), 0),
        (("",), 2),
    ],
)
def test_no_gradient_comes_to_the_lowest_blocks_where_nothing_before_them_learns(
    network, frozen, still
):
    for name, one in network.vision.named_parameters():
        one.requires_grad_(not name.startswith(frozen) if frozen else True)
    assert still_blocks(network.vision) == still
    network.vision.requires_grad_(True)


def test_frozen_blocks_of_the_tower_cost_no_way_back(network):
    network.requires_grad_(True)
    for name, one in network.vision.named_parameters():
        one.requires_grad_(name.startswith(("layers.1.", "last_norm")))
    expected = counted(network, back=True)
    ours = step_flops(network.config, **SIZES, still=1)
    network.requires_grad_(True)
    # The first matrix that learns needs no gradient of what comes in.
    assert expected <= ours <= 1.07 * expected


def test_adapters_pass_gradients_through_matrices_that_do_not_learn():
    config = Config.tiny()
    forward = forward_flops(config, **SIZES)
    through = step_flops(config, **SIZES, learns=(), passes=peak.PARTS)
    # Once forward, once back, and attention once more: both that were multiplied pass them on.
    assert 2 * forward < through < 2.1 * forward
    assert step_flops(config, **SIZES, learns=()) == forward


def test_computing_blocks_again_costs_nearly_one_more_forward_pass():
    config = Config()
    sizes = {"pictures": 8, "rows": 8, "tokens": 96, "scored": 240}
    more = step_flops(config, **sizes, again=True) - step_flops(config, **sizes)
    assert 0.9 * forward_flops(config, **sizes) < more < forward_flops(config, **sizes)


def test_the_full_size_is_about_six_operations_a_parameter_and_token():
    # The rule of thumb for the decoder: 6 x parameters x tokens, here without the embedding.
    config = Config()
    ours = step_flops(config, pictures=0, rows=1, tokens=64, scored=64)
    matrices = 24 * (4 * 2048**2 + 2 * 2048 * 8192) + 2048 * config.text.vocabulary
    assert ours == pytest.approx(6 * matrices * 64, rel=0.01)


def test_the_peak_is_measured_once_and_leaves_the_dice_alone(monkeypatch):
    monkeypatch.setitem(peak._SIDES, "cpu", 48)
    monkeypatch.setattr(peak, "_LEAST_S", 0.0)
    peak._peak.cache_clear()
    before = torch.random.get_rng_state()
    first = peak_flops("cpu", torch.float32)
    assert first > 0
    assert peak_flops("cpu", torch.float32) == first
    assert peak._peak.cache_info().misses == 1
    assert peak_flops(torch.device("cpu"), torch.bfloat16) > 0
    assert peak._peak.cache_info().misses == 2
    assert torch.equal(torch.random.get_rng_state(), before)
    peak._peak.cache_clear()


def test_what_adapters_save_is_not_counted_as_work_done():
    pytest.importorskip("peft")
    recipe = named("lora")
    begun = begin(recipe)
    speed = Speed(recipe, learner_of(recipe, begun), begun.network.config, Alone())
    assert speed.learns == []
    assert speed.passes[-1] == "decoder"
