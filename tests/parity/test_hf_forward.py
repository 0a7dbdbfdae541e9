"""Our model classes against the reference's: every field of the output, on small random weights.

Computed the same way ("eager") the two are equal to the last bit, in bfloat16 too. Computed in one
("sdpa") they are as near as the reference's own two ways are to each other.
"""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
import transformers

from hf_models import CONFIG, PAD, SIDES, assert_same, prompt, wrapped
from kosmos2.hf import DynamicCache, Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Model
from networks import twin_of

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
KINDS = [Kosmos2Model, Kosmos2ForConditionalGeneration]
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(scope="module")
def models(ours, theirs):
    """Both classes of both libraries, in both types, by name."""
    body = transformers.Kosmos2Model(theirs.config)
    body.load_state_dict(theirs.state_dict(), strict=False)
    found = {}
    for kind, reference in zip(KINDS, (body.eval(), theirs), strict=True):
        for dtype in DTYPES:
            network = copy.deepcopy(ours).to(dtype)
            mine = wrapped(network, kind=kind, attn_implementation="eager")
            found[kind, dtype] = mine, copy.deepcopy(reference).to(dtype)
    return found


@pytest.fixture(scope="module")
def model(ours):
    return wrapped(ours)


def in_type(given: dict, dtype: torch.dtype) -> dict:
    return {**given, "pixel_values": given["pixel_values"].to(dtype)}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_every_field_of_every_combination_is_the_references(models, kind, dtype, side):
    mine, reference = models[kind, dtype]
    given = in_type(prompt(side), dtype)
    close = CLOSE if dtype == torch.float32 else {}  # {}: to the last bit
    latents = mine.get_image_features(given["pixel_values"]).pooler_output
    embedded = mine.get_input_embeddings()(given["input_ids"])
    places = torch.arange(given["input_ids"].shape[1]).expand_as(given["input_ids"]) + 5
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    options = product([False, True], repeat=7)
    for labelled, cached, hidden, attentions, looked, vectors, placed in options:
        call = dict(given, use_cache=cached and not labelled)
        call |= {"output_hidden_states": hidden, "output_attentions": attentions}
        if labelled:
            if kind is Kosmos2Model:
                continue
            call["labels"] = labels
        if looked:
            call["image_embeds"] = latents
            del call["pixel_values"]
        if vectors:
            del call["input_ids"]
            call["inputs_embeds"] = embedded.clone()
        if placed:
            call["position_ids"] = places
        ours = mine(**call)
        if vectors:
            assert torch.equal(call["inputs_embeds"], embedded), "the caller's tensor was changed"
        theirs = reference(**call)
        where = f"{labelled=} {cached=} {hidden=} {attentions=} {looked=} {vectors=} {placed=}"
        assert_same(ours, theirs, place=where, **close)
        assert_positions(ours, theirs)


def assert_positions(ours, theirs):
    """What has a name has the place that it has there, too."""
    assert list(ours) == list(theirs)
    places = ours.to_tuple()
    assert len(places) == len(theirs.to_tuple()) == len(ours)
    for at, (name, value) in enumerate(ours.items()):
        if name == "vision_model_output":
            assert isinstance(ours[at], tuple)
            assert ours[at][0] is value.last_hidden_state
        else:
            assert ours[at] is places[at] is value
    assert ours[:2] == places[:2]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_tuple_is_the_same_without_names(models, kind):
    mine, reference = models[kind, torch.float32]
    call = dict(prompt("left"), return_dict=False)
    ours, theirs = mine(**call), reference(**call)
    assert type(ours) is tuple
    assert len(ours) == len(theirs)
    assert_same(ours[:1], theirs[:1], **CLOSE)
    assert_same(ours[-1][:2], theirs[-1], **CLOSE)
    mine.config.return_dict = False
    try:
        assert type(mine(**prompt())) is tuple
        assert type(mine(**prompt(), return_dict=True)) is not tuple
    finally:
        mine.config.return_dict = True


@pytest.mark.parametrize("side", SIDES)
@torch.no_grad()
def test_the_quick_way_is_the_references_quick_way_and_still_has_attentions(
    ours, theirs, model, side
):
    quick = twin_of(ours, attn_implementation="sdpa")
    given = prompt(side)
    mine, reference = model(**given), quick(**given)
    assert_same(mine, reference, **CLOSE)
    # Where the reference has none: those that its slow way would have.
    assert reference.projection_attentions is None
    assert not quick(**given, output_attentions=True).attentions
    slow = theirs(**given, output_attentions=True)
    assert_same(model(**given, output_attentions=True), slow, **CLOSE)


@pytest.mark.parametrize("side", SIDES)
@torch.no_grad()
def test_the_quick_way_in_bfloat16_is_as_near_as_the_references_two_ways(ours, theirs, side):
    """Four steps of that type at the size of these logits; the reference differs as much."""
    given = in_type(prompt(side), torch.bfloat16)
    mine = wrapped(copy.deepcopy(ours).to(torch.bfloat16))
    quick = twin_of(ours, attn_implementation="sdpa").to(torch.bfloat16)
    slow = copy.deepcopy(theirs).to(torch.bfloat16)
    for reference in (quick, slow):
        assert_same(mine(**given).logits, reference(**given).logits, atol=4 / 64, rtol=0)


@pytest.mark.parametrize(
    "keep",
    [0, 1, 3, torch.tensor([0, 5, -1]), torch.tensor([[1, 2], [3, 4], [5, -6]]), "mask"],
    ids=str,
)
@torch.no_grad()
def test_only_the_wanted_logits_come(model, theirs, keep):
    given = prompt("right")
    keep = given["attention_mask"].bool() if isinstance(keep, str) else keep
    mine = model(**given, logits_to_keep=keep)
    places = keep % given["input_ids"].shape[1] if getattr(keep, "ndim", 0) == 2 else keep
    places = keep if getattr(keep, "dtype", None) == torch.bool else places
    assert_same(mine.logits, theirs(**given, logits_to_keep=places).logits, **CLOSE)


@torch.no_grad()
def test_masks_may_be_whole_numbers_or_booleans(model):
    given = prompt("left")
    masks = ("image_embeds_position_mask", "attention_mask")
    other = {**given, **{name: given[name].bool() for name in masks}}
    assert torch.equal(model(**given).logits, model(**other).logits)


@torch.no_grad()
def test_several_pictures_in_a_row(model, theirs):
    given = prompt("left", pictures=(2, 1, 3))
    assert_same(model(**given), theirs(**given, use_cache=True), **CLOSE)
    # Their latents may also come row by row, as one long picture.
    given = prompt(pictures=(2, 2))
    latents = model.get_image_features(given.pop("pixel_values")).pooler_output
    joined = latents.unflatten(0, (2, 2)).flatten(1, 2)
    apart = model(**given, image_embeds=latents).logits
    assert torch.equal(model(**given, image_embeds=joined).logits, apart)


def continued(model, given: dict, cut: int, step: int, *, first: dict | None = None) -> list:
    """Outputs of reading a prompt up to `cut`, and then `step` tokens at a time."""
    beginning = {
        name: value if name == "pixel_values" else value[:, :cut] for name, value in given.items()
    }
    outputs = [model(**beginning, use_cache=True)]
    for start in range(cut, given["input_ids"].shape[1], step):
        stop = start + step
        past = outputs[-1].past_key_values
        outputs.append(
            model(
                input_ids=given["input_ids"][:, start:stop],
                attention_mask=given["attention_mask"][:, :stop],
                past_key_values=past,
                **({"image_embeds": outputs[0].image_embeds} if first is None else first),
            )
        )
    return outputs


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("side", SIDES)
@torch.no_grad()
def test_reading_in_steps_is_reading_at_once(model, side, step):
    given = prompt(side)
    cut = int(given["image_embeds_position_mask"].any(dim=0).nonzero().max()) + 2
    whole = model(**given).logits
    parts = [output.logits for output in continued(model, given, cut, step, first={})]
    kept = given["attention_mask"].bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[kept], whole[kept], **CLOSE)


@pytest.mark.parametrize("step", [1, 3])
@torch.no_grad()
def test_where_nothing_is_padded_the_references_steps_are_ours(model, theirs, step):
    given = prompt()
    for mine, reference in zip(
        continued(model, given, 13, step), continued(theirs, given, 13, step), strict=True
    ):
        assert_same(mine, reference, **CLOSE)


@pytest.mark.parametrize("step", [1, 2])
@torch.no_grad()
def test_the_references_numbers_after_padding_on_the_left_can_be_had(ours, theirs, model, step):
    given = prompt("left")
    cut = int(given["image_embeds_position_mask"].any(dim=0).nonzero().max()) + 2
    as_there = wrapped(ours, compat="transformers-5")
    reference = continued(theirs, given, cut, step)
    for mine, other in zip(continued(as_there, given, cut, step), reference, strict=True):
        assert_same(mine, other, **CLOSE)
    right = continued(model, given, cut, step)[-1].logits
    assert not torch.allclose(right[0], reference[-1].logits[0], atol=1e-2), "nothing to switch"


@torch.no_grad()
def test_without_a_mask_the_cache_knows_its_padding_and_the_references_does_not(
    ours, theirs, model
):
    given = prompt("left")
    first = model(**given)
    new = {"input_ids": torch.tensor([[9], [10], [11]])}
    mask = torch.cat([given["attention_mask"], torch.ones(3, 1, dtype=torch.long)], dim=1)
    told = model(**new, attention_mask=mask, past_key_values=first.past_key_values.copy())
    untold = model(**new, past_key_values=first.past_key_values.copy())
    assert torch.equal(told.logits, untold.logits)

    as_there = wrapped(ours, compat="transformers-5")
    mine = as_there(**new, past_key_values=as_there(**given).past_key_values)
    before = theirs(**given, use_cache=True)
    reference = theirs(
        **new, past_key_values=before.past_key_values, image_embeds=before.image_embeds
    )
    assert_same(mine.logits, reference.logits, **CLOSE)


@pytest.mark.parametrize("side", SIDES)
@torch.no_grad()
def test_a_cache_may_come_as_plain_tuples(model, side):
    given = prompt(side)
    first = model(**given)
    plain = first.past_key_values.to_legacy_cache()
    assert len(plain) == CONFIG.text.layers
    mask = torch.cat([given["attention_mask"], torch.ones(3, 1, dtype=torch.long)], dim=1)
    new = {"input_ids": torch.tensor([[9], [10], [11]]), "attention_mask": mask}
    from_tuples = model(**new, past_key_values=plain)
    assert isinstance(from_tuples.past_key_values, DynamicCache)
    assert torch.equal(
        from_tuples.logits, model(**new, past_key_values=first.past_key_values).logits
    )


@torch.no_grad()
def test_embedded_tokens_go_on_where_ids_stopped(model, theirs):
    given = prompt()
    ids = torch.tensor([[9, 12], [10, 13], [11, 14]])
    first = model(**given)
    mine = model(
        inputs_embeds=model.get_input_embeddings()(ids),
        past_key_values=first.past_key_values.copy(),
    )
    torch.testing.assert_close(
        mine.logits, model(input_ids=ids, past_key_values=first.past_key_values).logits, **CLOSE
    )
    before = theirs(**given, use_cache=True)
    reference = theirs(
        inputs_embeds=theirs.get_input_embeddings()(ids),
        past_key_values=before.past_key_values,
        image_embeds=before.image_embeds,
    )
    assert_same(mine.logits, reference.logits, **CLOSE)


@pytest.mark.parametrize(("height", "width"), [(42, 42), (24, 48), (31, 35), (30, 36)])
@torch.no_grad()
def test_pictures_of_other_sizes_look_the_same(models, height, width):
    mine, reference = models[Kosmos2Model, torch.float32]
    given = prompt("left")
    given["pixel_values"] = torch.randn(3, 3, height, width)
    call = {**given, "interpolate_pos_encoding": True, "output_hidden_states": True}
    body = reference(**call)
    assert_same(mine(**call), body, **CLOSE)
    # The reference's other class drops the word and refuses the picture; ours takes it.
    whole, there = models[Kosmos2ForConditionalGeneration, torch.float32]
    with pytest.raises(ValueError, match="match model"):
        there(**call)
    answer = whole(**call)
    del given["pixel_values"]
    assert_same(answer.logits, there(**given, image_embeds=body.image_embeds).logits, **CLOSE)


@torch.no_grad()
def test_image_features_are_the_references(models):
    mine, reference = models[Kosmos2Model, torch.float32]
    pixels = prompt()["pixel_values"]
    wanted = {"output_hidden_states": True, "output_attentions": True}
    ours, theirs = (model.get_image_features(pixels, **wanted) for model in (mine, reference))
    assert_same(ours, theirs, **CLOSE)
    assert_same(ours.projection_attentions, theirs.projection_attentions, **CLOSE)


@pytest.mark.parametrize("items", [None, 5, torch.tensor(7)], ids=str)
@pytest.mark.parametrize("way", ["eager", "sdpa"])
@pytest.mark.parametrize("side", SIDES)
def test_loss_and_every_gradient_are_the_references(ours, theirs, side, way, items):
    mine = wrapped(copy.deepcopy(ours), attn_implementation=way)
    reference = copy.deepcopy(theirs)
    given = prompt(side)
    labels = given["input_ids"].masked_fill(given["image_embeds_position_mask"] == 1, -100)
    labels = labels.masked_fill(given["attention_mask"] == 0, -100)
    losses = []
    for model in (mine, reference):
        call = {**given, "pixel_values": given["pixel_values"].clone().requires_grad_()}
        loss = model(**call, labels=labels, num_items_in_batch=items).loss
        loss.backward()
        losses.append((loss, call["pixel_values"].grad))
    torch.testing.assert_close(*[loss for loss, _ in losses], **CLOSE)
    torch.testing.assert_close(*[grad for _, grad in losses], atol=2e-5, rtol=1e-4)
    expected = dict(reference.named_parameters())
    names = []
    for name, parameter in mine.named_parameters():
        names.append(name)
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, atol=2e-5, rtol=1e-4, msg=name
        )
    assert sorted(names) == sorted(expected)


def test_training_trains_our_network_and_evaluation_is_still_again(ours):
    model = wrapped(copy.deepcopy(ours))
    assert list(map(id, model.parameters())) == list(map(id, model.network.parameters()))
    given = prompt("right")
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    assert model.train().network.decoder.training
    assert not torch.equal(model(**given).logits, model(**given).logits), "no dropout"
    model.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = model(**given, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]


@torch.no_grad()
def test_what_a_call_leaves_open_the_configuration_decides(ours):
    config = Kosmos2Config.of_network(ours.config)
    config.output_attentions = config.output_hidden_states = True
    config.text_config.use_cache = False
    model = Kosmos2ForConditionalGeneration(config, network=ours).eval()
    usual = model(**prompt())
    assert "past_key_values" not in usual
    assert len(usual.attentions) == CONFIG.text.layers
    assert len(usual.hidden_states) == CONFIG.text.layers + 1
    assert len(usual.vision_model_output.attentions) == CONFIG.vision.layers
    told = model(**prompt(), output_attentions=False, output_hidden_states=False, use_cache=True)
    assert "attentions" not in told
    assert "hidden_states" not in told
    assert told.past_key_values.get_seq_length() == prompt()["input_ids"].shape[1]


@torch.no_grad()
def test_padding_changes_no_real_token(model):
    """Each row alone, without its padding, is the same row."""
    for side in ("left", "right"):
        given = prompt(side)
        batch = model(**given).logits
        for row, ids in enumerate(given["input_ids"]):
            real = ids != PAD
            alone = model(
                given["pixel_values"][row : row + 1],
                ids[real][None],
                given["image_embeds_position_mask"][row][real][None],
            )
            torch.testing.assert_close(batch[row][real], alone.logits[0], **CLOSE)
