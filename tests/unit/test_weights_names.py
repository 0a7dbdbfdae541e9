"""Every tensor of the reference has one name here; at full size names and shapes are the same."""

import math

import pytest
import torch

from kosmos2.config import Config
from kosmos2.errors import CheckpointError
from kosmos2.model import Network
from kosmos2.weights.names import IGNORABLE, TIED, ours_to_theirs, theirs_to_ours

# The released model's file, written out: {i} is a layer, {p} a projection, {n} a norm.
DECODER_LAYER = {
    "text_model.model.layers.{i}.self_attn.{p}_proj.weight": (2048, 2048),
    "text_model.model.layers.{i}.self_attn.{p}_proj.bias": (2048,),
    "text_model.model.layers.{i}.self_attn.inner_attn_ln.weight": (2048,),
    "text_model.model.layers.{i}.self_attn.inner_attn_ln.bias": (2048,),
    "text_model.model.layers.{i}.self_attn_layer_norm.weight": (2048,),
    "text_model.model.layers.{i}.self_attn_layer_norm.bias": (2048,),
    "text_model.model.layers.{i}.ffn.fc1.weight": (8192, 2048),
    "text_model.model.layers.{i}.ffn.fc1.bias": (8192,),
    "text_model.model.layers.{i}.ffn.ffn_layernorm.weight": (8192,),
    "text_model.model.layers.{i}.ffn.ffn_layernorm.bias": (8192,),
    "text_model.model.layers.{i}.ffn.fc2.weight": (2048, 8192),
    "text_model.model.layers.{i}.ffn.fc2.bias": (2048,),
    "text_model.model.layers.{i}.final_layer_norm.weight": (2048,),
    "text_model.model.layers.{i}.final_layer_norm.bias": (2048,),
}
TOWER_LAYER = {
    "vision_model.model.encoder.layers.{i}.layer_norm{n}.weight": (1024,),
    "vision_model.model.encoder.layers.{i}.layer_norm{n}.bias": (1024,),
    "vision_model.model.encoder.layers.{i}.self_attn.{p}_proj.weight": (1024, 1024),
    "vision_model.model.encoder.layers.{i}.self_attn.{p}_proj.bias": (1024,),
    "vision_model.model.encoder.layers.{i}.mlp.fc1.weight": (4096, 1024),
    "vision_model.model.encoder.layers.{i}.mlp.fc1.bias": (4096,),
    "vision_model.model.encoder.layers.{i}.mlp.fc2.weight": (1024, 4096),
    "vision_model.model.encoder.layers.{i}.mlp.fc2.bias": (1024,),
}
ONCE = {
    "text_model.model.embed_tokens.weight": (65037, 2048),
    "text_model.model.layer_norm.weight": (2048,),
    "text_model.model.layer_norm.bias": (2048,),
    "vision_model.model.embeddings.class_embedding": (1024,),
    "vision_model.model.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
    "vision_model.model.embeddings.position_embedding.weight": (257, 1024),
    "vision_model.model.pre_layrnorm.weight": (1024,),
    "vision_model.model.pre_layrnorm.bias": (1024,),
    "vision_model.model.post_layernorm.weight": (1024,),
    "vision_model.model.post_layernorm.bias": (1024,),
    "image_to_text_projection.dense.weight": (2048, 1024),
    "image_to_text_projection.dense.bias": (2048,),
    "image_to_text_projection.latent_query": (64, 2048),
    "image_to_text_projection.x_attn.{p}_proj.weight": (2048, 2048),
    "image_to_text_projection.x_attn.{p}_proj.bias": (2048,),
}
RELEASED = {
    pattern.format(i=i, p=p, n=n): shape
    for table, layers in ((DECODER_LAYER, 24), (TOWER_LAYER, 24), (ONCE, 1))
    for pattern, shape in table.items()
    for i in range(layers)
    for p in "qkvo"
    for n in (1, 2)
}
RELEASED = {name.replace(".o_proj", ".out_proj"): shape for name, shape in RELEASED.items()}


@pytest.fixture(scope="module")
def full_size() -> Network:
    with torch.device("meta"):
        return Network(Config())


def test_the_full_network_has_every_name_and_shape_of_the_released_file(full_size):
    ours = {ours_to_theirs(name): tuple(p.shape) for name, p in full_size.named_parameters()}
    assert ours == RELEASED


def test_the_full_network_has_as_many_parameters_as_the_released_one(full_size):
    assert len(RELEASED) == 885
    assert sum(math.prod(shape) for shape in RELEASED.values()) == 1_664_485_376
    assert sum(p.numel() for p in full_size.parameters()) == 1_664_485_376
    assert sum(p.numel() for p in full_size.vision.parameters()) == 303_179_776
    assert sum(p.numel() for p in full_size.connector.parameters()) == 19_015_680
    assert sum(p.numel() for p in full_size.decoder.parameters()) == 1_342_289_920


def test_everything_in_the_network_is_stored_or_follows_from_its_sizes(full_size):
    assert set(full_size.state_dict()) == {name for name, _ in full_size.named_parameters()}


def test_names_go_there_and_back(full_size):
    for name, _ in full_size.named_parameters():
        assert theirs_to_ours(ours_to_theirs(name)) == name
    for name in RELEASED:
        assert ours_to_theirs(theirs_to_ours(name)) == name


def test_what_only_repeats_is_known_and_ignored():
    assert TIED == "text_model.lm_head.weight"
    assert {theirs_to_ours(name) for name in IGNORABLE} == {None}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "weight",
        "text_model.model.layers.weight",
        "text_model.model.layers.0.0.ffn.fc1.weight",
        "text_model.model.layers.x.ffn.fc1.weight",
        "text_model.model.layers.#.ffn.fc1.weight",
        "text_model.model.layers.0.ffn.fc3.weight",
        "decoder.words.weight",
        "vision_model.model.pre_layernorm.weight",
    ],
)
def test_a_name_of_another_model_is_refused(name):
    with pytest.raises(CheckpointError, match="no tensor"):
        theirs_to_ours(name)
