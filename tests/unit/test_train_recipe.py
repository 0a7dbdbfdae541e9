"""A recipe is read or refused by name, and comes back from its own TOML as it went in."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2.config import Config
from kosmos2.data.sources import Source
from kosmos2.data.wording import Wording
from kosmos2.errors import RecipeError
from kosmos2.train import vocabulary
from kosmos2.train.recipe import Data, Lora, Many, Model, Recipe, Stage, Train
from kosmos2.train.recipe.shipped import NAMES, asked_otherwise, named, with_data, with_model
from kosmos2.train.recipe.toml import written
from kosmos2.train.schedule import rate_at, spread_at

SMALL = """
[[data]]
path = "boxes.json"

[[stage]]
steps = 10
rows = 4
rate = 1e-3
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_of_the_package_is_read_and_written(name):
    recipe = named(name)
    assert recipe.name == name
    assert recipe.about
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert recipe.differences(Recipe.from_toml(recipe.to_toml())) == []


def test_what_is_not_said_is_the_papers():
    train, stage = Train(), Stage(steps=1, rows=1, rate=1e-4)
    assert (train.betas, train.eps, train.weight_decay) == ((0.9, 0.98), 1e-6, 0.01)
    assert (stage.schedule, stage.place_weight, stage.spread) == ("linear", 1.0, (0.0, 0.0))
    assert (train.freeze, train.ema, train.layer_decay, train.shared_cells) == ((), 0.0, 1.0, False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"sede = 3\n{SMALL}", "mine.toml: there is no sede; known: name"),
        (f"[train]\nsede = 3\n{SMALL}", "there is no train.sede; did you mean train.seed?"),
        (f"{SMALL}warmup = 3", r"there is no stage\[0\].warmup; did you mean stage\[0\].warm_up?"),
        (f"{SMALL}[[stage.data]]\npaht = 'x'", r"there is no stage\[0\].data\[0\].paht; did you"),
        ("[[data]]\nboxes_shre = 1\n", r"there is no data\[0\].boxes_shre; did you mean data"),
        ("[[data]]\nformat = 'scenes'\npath = 'x'\n", r"there is no data\[0\].path; known: format"),
        (f"{SMALL}[lora]\nrnk = 3", "there is no lora.rnk; did you mean lora.rank?"),
        ("[model.config.vision]\nwidht = 3\n", "did you mean vision.width?"),
        (f"[train]\nseed = 'x'\n{SMALL}", "train.seed is 'x'; give a whole number"),
        (f"[train]\nseed = true\n{SMALL}", "train.seed is True; give a whole number"),
        (f"[train]\nbetas = [0.9]\n{SMALL}", r"train.betas is \[0.9\]; give a list of 2, each a"),
        (f"[train]\nfreeze = 'vision.*'\n{SMALL}", "train.freeze is 'vision.*'; give a list"),
        (f"[train]\ncompile = 1\n{SMALL}", "train.compile is 1; give true or false"),
        ("train = 3\n", "train is 3; give a table"),
        ("stage = 3\n", "stage is 3; give a list, each a table"),
        (f"{SMALL}heads = 'dens'", "give 'none', 'dense' or 'contrastive'; did you mean 'dense'?"),
        (f"{SMALL}accumulate = 3", r"stage\[0\]: rows = 4 cannot be shared by accumulate = 3"),
        (f"{SMALL}tell = false", "nothing is learnt"),
        (f"{SMALL}heads = 'contrastive'\naccumulate = 2", "give accumulate = 1"),
        ("[[stage]]\nsteps = 3\nrows = 1\n", r"stage\[0\].rate is missing; give a number"),
        ("[[data]]\nweight = 1.0\n", r"data\[0\].path is missing; give text in quotes"),
        ("[[data]]\npath = 'x'\nweight = 0\n", "weight is 0.0; give more than 0"),
        ("[[data]]\npath = 'x'\nboxes_share = 2.0\n", r"data\[0\]: boxes_share is 2.0; give"),
        ("[model]\nstart = 'scratch'\n", "needs the sizes"),
        ("", r"has no \[\[stage\]\]"),
        (f"{SMALL}{SMALL.partition('[[stage]]')[1]}\nsteps=1\nrows=1\nrate=1.0", "two stages are"),
        ("[[stage\n", "mine.toml is not TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_told_by_file_key_and_way_out(text, told):
    with pytest.raises(RecipeError, match=r"mine\.toml") as refused:
        Recipe.from_toml(text, "mine.toml")
    assert re.search(told, str(refused.value)), refused.value


def test_a_recipe_that_is_not_there_is_told_with_the_nearest():
    with pytest.raises(RecipeError, match=r"did you mean finetune\?"):
        named("finetun")
    with pytest.raises(RecipeError, match=r"nowhere\.toml cannot be read"):
        named("nowhere.toml")


def test_data_is_beside_the_file_that_names_it(tmp_path):
    (tmp_path / "mine.toml").write_text(SMALL.replace('boxes.json"', 'a.json"\npictures = "/p"'))
    (data,) = Recipe.read(tmp_path / "mine.toml").data
    assert data.source is not None
    assert Path(data.source.path) == tmp_path / "a.json"
    assert data.source.pictures == "/p"


def test_one_table_says_where_rows_are_and_how_they_are_taught():
    table = {"path": "x", "format": "coco", "weight": 3, "flip": 0.5, "of_one": ["{a} {noun}"]}
    data = Data.from_table(table, "data")
    assert data.source == Source(
        path="x", format="coco", wording=Wording(flip=0.5, of_one=("{a} {noun}",))
    )
    assert data.weight == 3.0
    assert data.to_table() == table


def test_words_that_are_not_stated_are_those_of_the_scenes():
    recipe = named("demo")
    assert recipe.model.config is not None
    assert recipe.model.config.text.vocabulary == vocabulary.build().size


def test_paths_given_beside_a_recipe_join_the_scenes_that_it_replays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = with_data(named("finetune"), ["a.json", "coco:b.json"])
    files = [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert [data.name for data in recipe.data] == ["scenes", *files]
    assert recipe.data[2].source is not None
    assert recipe.data[2].source.format == "coco"
    elsewhere = with_model(recipe, "somewhere/else")
    assert [data.name for data in elsewhere.data] == files
    assert elsewhere.model.start == "somewhere/else"
    assert [data.name for data in with_data(named("lora"), ["scenes"]).data] == ["scenes"]


def test_single_settings_are_asked_otherwise():
    settings = ["train.seed=9", "stage.tell.steps=4", "stage.0.rate=1", "model.start=scratch",
                "lora.rank = 3", "train.freeze=['vision.*']", "data.weight=2"]  # fmt: skip
    recipe = asked_otherwise(named("demo"), settings)
    assert (recipe.train.seed, recipe.stage[1].steps, recipe.stage[0].rate) == (9, 4, 1.0)
    assert recipe.lora == Lora(rank=3)
    assert recipe.train.freeze == ("vision.*",)
    assert recipe.data[0].weight == 2.0
    usual = named("demo")
    assert recipe.differences(usual)[0] == "train.seed = 2, here 9"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("train.seed", "is no KEY=VALUE"),
        ("train.sede=3", "did you mean train.seed?"),
        ("stage.steps=3", "there are several; say which: see, tell"),
        ("stage.teach.steps=3", "there is no stage.teach; say which: see, tell"),
        ("name.x=3", "name is no table"),
        ("train.seed=1.5", "train.seed is 1.5; give a whole number"),
    ],
)
def test_a_setting_that_is_not_there_is_refused(setting, told):
    with pytest.raises(RecipeError, match=told):
        asked_otherwise(named("demo"), [setting])


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        st.recursive(
            st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=9)
            | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_what_is_written_as_toml_reads_the_same(table):
    assert tomllib.loads(written(_without_mixed_lists(table))) == _without_mixed_lists(table)


def _without_mixed_lists(held):
    """Recipes have lists of tables and lists of plain values, and none of both or of lists."""
    if isinstance(held, dict):
        return {name: _without_mixed_lists(one) for name, one in held.items()}
    if isinstance(held, list):
        return [one for one in held if not isinstance(one, dict | list)]
    return held


def test_rates_climb_and_fall_as_published():
    stage = named("paper").stage[0]
    assert rate_at(stage, 0) == pytest.approx(2e-4 / 375)
    assert rate_at(stage, 374) == pytest.approx(2e-4)
    assert rate_at(stage, 375) == pytest.approx(2e-4)
    halfway = 375 + (stage.steps - 375) // 2
    assert rate_at(stage, halfway) == pytest.approx(1e-4, rel=1e-3)
    assert rate_at(stage, stage.steps - 1) < 4e-9


def test_every_schedule_stays_between_nothing_and_its_rate():
    for schedule in ("linear", "constant-then-linear", "cosine"):
        stage = Stage(steps=40, rows=1, rate=2.0, warm_up=5, schedule=schedule, fall=0.4)
        rates = [rate_at(stage, step) for step in range(40)]
        assert max(rates) == 2.0
        assert min(rates) > 0
        assert rates[:6] == sorted(rates[:6])
        assert rates[5:] == sorted(rates[5:], reverse=True)
        level = rates[5:24]
        assert (set(level) == {2.0}) == (schedule == "constant-then-linear")
    assert rate_at(dataclasses.replace(stage, warm_up=0), 0) == 2.0


def test_the_bell_narrows_in_a_straight_line():
    stage = Stage(steps=10, rows=1, rate=1.0, spread=(1.0, 0.5))
    assert [spread_at(stage, step) for step in (0, 5, 10)] == [1.0, 0.75, 0.5]


def test_what_is_begun_with_has_sizes_of_its_own_or_is_given_some():
    with pytest.raises(RecipeError, match="leave config out"):
        Model(start="demo", config=Config.tiny())
    assert Model(start="scratch", config=Config.tiny()).config == Config.tiny()
    assert Many().how == "none"
