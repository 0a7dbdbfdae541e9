"""Our network against the reference, organ by organ, on small random weights in float32."""

from dataclasses import dataclass

import pytest
import torch

from kosmos2.config import Config
from kosmos2.model import Cache, Network
from kosmos2.weights.names import ours_to_theirs

CONFIG = Config.tiny()
BOS, PAD, EOS = CONFIG.text.bos, CONFIG.text.pad, CONFIG.text.eos
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@dataclass
class Prompts:
    ids: torch.Tensor
    slots: torch.Tensor
    keep: torch.Tensor
    pixels: torch.Tensor

    def for_reference(self) -> dict:
        return {
            "input_ids": self.ids,
            "image_embeds_position_mask": self.slots.long(),
            "attention_mask": self.keep.long(),
            "pixel_values": self.pixels,
        }

    def for_us(self) -> dict:
        return {"slots": self.slots, "keep": self.keep, "pixels": self.pixels}


def prompts(side: str, pictures: tuple[int, ...] = (1, 1, 1)) -> Prompts:
    """Rows of different lengths; `side` is where the shorter ones are padded, or 'none'."""
    random = torch.Generator().manual_seed(7)
    rows = []
    for row, count in enumerate(pictures):
        ids, slots = [BOS], [False]
        for _ in range(count):
            ids += [3, *range(4, 4 + CONFIG.latents), 5]
            slots += [False, *[True] * CONFIG.latents, False]
        length = 6 if side == "none" else 4 + 5 * row
        ids += torch.randint(6, CONFIG.text.vocabulary, (length,), generator=random).tolist()
        rows.append((ids, slots + [False] * length))
    longest = max(len(ids) for ids, _ in rows)
    all_ids, all_slots, keep = [], [], []
    for ids, slots in rows:
        padding = longest - len(ids)
        before, after = (padding, 0) if side == "left" else (0, padding)
        all_ids.append([PAD] * before + ids + [PAD] * after)
        all_slots.append([False] * before + slots + [False] * after)
        keep.append([False] * before + [True] * len(ids) + [False] * after)
    size = CONFIG.vision.image_size
    pixels = torch.randn(sum(pictures), 3, size, size, generator=random)
    return Prompts(torch.tensor(all_ids), torch.tensor(all_slots), torch.tensor(keep), pixels)


@torch.inference_mode()
def test_the_tower_sees_the_same_in_every_layer(ours, theirs):
    pixels = prompts("none").pixels
    watched: list[torch.Tensor] = []
    ours.vision(pixels, watch=watched)
    expected = theirs.vision_model(pixels, output_hidden_states=True).hidden_states
    assert len(watched) == len(expected) == CONFIG.vision.layers + 1
    for mine, reference in zip(watched, expected, strict=True):
        torch.testing.assert_close(mine, reference, **CLOSE)


@torch.inference_mode()
def test_the_connector_makes_the_same_latents(ours, theirs):
    given = prompts("none")
    expected = theirs(**given.for_reference()).image_embeds
    torch.testing.assert_close(ours.look(given.pixels), expected, **CLOSE)


@pytest.mark.parametrize("side", ["none", "left", "right"])
@torch.inference_mode()
def test_every_hidden_state_and_logit_agrees_even_on_padding(ours, theirs, side):
    given = prompts(side)
    watched: list[torch.Tensor] = []
    logits = ours(given.ids, **given.for_us(), watch=watched)
    expected = theirs(**given.for_reference(), output_hidden_states=True)
    torch.testing.assert_close(logits, expected.logits, **CLOSE)
    assert len(watched) == CONFIG.text.layers + 1
    for mine, reference in zip(watched, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, reference, **CLOSE)


@torch.inference_mode()
def test_several_pictures_in_one_row_agree(ours, theirs):
    given = prompts("left", pictures=(2, 1, 3))
    logits = ours(given.ids, **given.for_us())
    torch.testing.assert_close(logits, theirs(**given.for_reference()).logits, **CLOSE)


@torch.inference_mode()
def test_a_row_longer_than_the_positions_it_was_trained_for_agrees(ours, theirs):
    ids = torch.randint(6, 1000, (1, CONFIG.text.positions + 9))
    torch.testing.assert_close(ours(ids), theirs.text_model(ids).logits, **CLOSE)


@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_loss_and_every_gradient_agree(ours, theirs, side):
    """Also where the first word is predicted from padding, which the reference counts too."""
    given = prompts(side)
    labels = given.ids.masked_fill(given.slots | ~given.keep, -100)
    ours.zero_grad()
    theirs.zero_grad()
    loss = ours.loss(given.ids, labels, **given.for_us())
    loss.backward()
    expected = theirs(**given.for_reference(), labels=labels)
    expected.loss.backward()
    torch.testing.assert_close(loss, expected.loss, **CLOSE)

    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        grad = reference[ours_to_theirs(name)].grad
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, grad, atol=2e-5, rtol=1e-4, msg=name)
    ours.zero_grad()


@torch.inference_mode()
def test_whole_chunked_and_cached_reading_are_one(ours):
    given = prompts("left")
    latents = ours.look(given.pixels)
    whole = ours(given.ids, latents=latents, slots=given.slots, keep=given.keep)
    cut = int(given.slots.any(dim=0).nonzero().max()) + 1  # pictures go in with the first chunk
    cache = Cache()
    parts = [
        ours(
            given.ids[:, :cut],
            latents=latents,
            slots=given.slots[:, :cut],
            keep=given.keep[:, :cut],
            cache=cache,
        )
    ]
    steps = [(cut, cut + 3), *((at, at + 1) for at in range(cut + 3, given.ids.shape[1]))]
    for start, stop in steps:
        part = slice(start, stop)
        parts.append(ours(given.ids[:, part], keep=given.keep[:, part], cache=cache))
    joined = torch.cat(parts, dim=1)
    torch.testing.assert_close(joined[given.keep], whole[given.keep], **CLOSE)


@torch.inference_mode()
def test_padding_on_the_left_changes_no_cached_step(ours):
    """The reference's version 5 jumps ahead by the number of pads here; the right logits do not."""
    given = prompts("left")
    latents = ours.look(given.pixels)
    cache = Cache()
    logits = ours(given.ids, **given.for_us(), cache=cache)[:, -1]
    answers: list[list[int]] = [[] for _ in given.ids]
    for _ in range(4):
        chosen = logits.argmax(-1)
        logits = ours(chosen[:, None], cache=cache)[:, -1]
        for row, answer in enumerate(answers):
            answer.append(int(chosen[row]))
            keep = given.keep[row]
            ids = torch.cat([given.ids[row][keep], torch.tensor(answer)])
            slots = torch.cat([given.slots[row][keep], torch.zeros(len(answer), dtype=torch.bool)])
            alone = ours(ids[None], latents=latents[row : row + 1], slots=slots[None])
            torch.testing.assert_close(logits[row], alone[0, -1], **CLOSE)


@torch.inference_mode()
def test_the_reference_shares_our_cached_steps_where_nothing_is_padded(ours, theirs):
    given = prompts("none")
    cache = Cache()
    ours(given.ids, **given.for_us(), cache=cache)
    past = theirs(**given.for_reference(), use_cache=True).past_key_values
    ids = torch.tensor([[9], [10], [11]])
    keep = torch.cat([given.keep, torch.ones(3, 1, dtype=torch.bool)], dim=1)
    positions = torch.full((3, 1), given.ids.shape[1] + PAD + 1)
    expected = theirs.text_model(
        ids, attention_mask=keep.long(), past_key_values=past, position_ids=positions
    ).logits
    torch.testing.assert_close(ours(ids, cache=cache), expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_stays_near_float32_and_scores_in_float32(ours, dtype):
    given = prompts("left")
    half = Network(CONFIG)
    half.load_state_dict(ours.state_dict())
    logits = half.eval().to(dtype)(given.ids, **given.for_us())
    assert logits.dtype == torch.float32
    full = ours(given.ids, **given.for_us())
    error = (logits - full)[given.keep].abs().mean() / full[given.keep].std()
    assert error < 0.05


def test_picking_rows_of_a_cache_is_reading_those_rows(ours):
    ids = torch.randint(6, 1000, (3, 8))
    cache, chosen = Cache(), torch.tensor([2, 0, 0])
    with torch.inference_mode():
        ours(ids, cache=cache)
        cache.pick(chosen)
        picked = ours(torch.full((3, 1), 9), cache=cache)
        fresh = Cache()
        ours(ids[chosen], cache=fresh)
        torch.testing.assert_close(picked, ours(torch.full((3, 1), 9), cache=fresh), **CLOSE)


def test_no_two_sizes_of_the_tiny_network_are_equal():
    """Nor equal to the cells: a mixed-up size must not go unnoticed."""
    vision, text = CONFIG.vision, CONFIG.text
    sizes = [
        *(vision.image_size, vision.patch_size, vision.side, vision.patches, vision.vectors),
        *(vision.width, vision.layers, vision.heads, vision.head_width, vision.ffn_width),
        *(text.vocabulary, text.width, text.layers, text.heads, text.head_width, text.ffn_width),
        *(text.positions, CONFIG.latents, 32, 1024),
    ]
    assert len(set(sizes)) == len(sizes)
