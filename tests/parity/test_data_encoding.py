"""Lessons against the released tokenizer, the released model's own words, and its loader's rule."""

from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from kosmos2.data.encoding import encode
from kosmos2.data.lesson import Lesson
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.data.wording import Wording, lessons_of
from kosmos2.geometry import Box
from kosmos2.markup import DOC_END, parse
from kosmos2.tokenizer import Tokenizer

sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece reads its model")

# What the released weights answer about the snowman, after `</image>` (ids of the reference).
BRIEF = (
    "64012 712 1648 9 64007 10 43867 64008 64009 64057 64876 64010 5950 597 32 64007 10 646 64008 "
    "64009 64018 64924 64010 4 2"
)
DETAILED = (
    "64012 34645 247 38 1648 12 3391 55 24 1648 1338 10 43867 1280 32 64007 10 30879 64008 64009 "
    "64018 65020 64010 12 5 1842 4 71 17 1679 64007 10 3958 64008 64009 64061 64263 64010 6 64007 "
    "15719 64008 64009 64253 64617 64010 6 8 64007 9626 64008 64009 64413 64545 64010 6 23 64007 "
    "10 4363 64008 64009 64623 64885 64010 2255 8 64007 10 3486 64008 64009 64809 65036 64010 1560 "
    "2255 4 24 43867 1684 7 27 3774 5 10356 9 5 646 6 8 22 1684 7 30 10 2007 8 16239 4337 4 2"
)
CAPTIONS = [
    "a wire hanger with a paper cover that reads we heart our customers",
    "A dog's tail, and (two) men's hats; it's 3.14 m from the e-mail sign!",
    "Two men—one old, one young—on a bench... by the U.S.A. flag.",
    "naïve café ☃ Straße 北京欢迎你 и собака",
    "antidisestablishmentarianism's",
]


@pytest.fixture(scope="module")
def tokenizer(sentencepiece_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    copy(sentencepiece_model, folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def pieces(sentencepiece_model: Path):
    """The released loader's own way from text to ids: piece 0 is `<unk>`, others move by one."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    return lambda text: [piece + 1 if piece else 3 for piece in model.encode(text)]


def grounded(text: str, *spans: Span) -> Lesson:
    picture = Picture(np.zeros((4, 4, 3), np.uint8))
    sample = Sample("test", "pair", (Turn(text, spans),), (picture,))
    (one,) = lessons_of(sample, Wording(boxes_share=float(bool(spans))), np.random.default_rng(0))
    return one


@pytest.mark.parametrize("ids", [BRIEF, DETAILED], ids=["brief", "detailed"])
def test_a_pair_is_what_the_released_model_writes_about_its_picture(ids, tokenizer):
    expected = [int(id) for id in ids.split()]
    read = parse(tokenizer.decode(expected))
    spans = [Span(one.start, one.end, one.boxes) for one in read.entities]
    tokens = encode(grounded(read.text, *spans), tokenizer)
    assert tokens.ids == expected
    assert all(tokens.learnt)


@pytest.mark.parametrize("text", CAPTIONS, ids=range(len(CAPTIONS)))
def test_a_caption_has_the_pieces_of_sentencepiece_whatever_is_tied(text, tokenizer, pieces):
    whole = pieces(text)
    assert encode(grounded(text), tokenizer).ids[:-1] == whole
    tried = 0
    for start in range(len(text)):
        for end in {min(start + 3, len(text)), min(start + 9, len(text))}:
            phrase = text[start:end]
            if not phrase or phrase.strip() != phrase:
                continue
            before, upto = pieces(text[:start]), pieces(text[:end])
            ids = encode(
                grounded(text, Span(start, end, (Box(0.1, 0.1, 0.5, 0.5),))), tokenizer
            ).ids
            plain = [id for id in ids[:-1] if id < tokenizer.tag(DOC_END)]
            if whole[: len(before)] == before and whole[: len(upto)] == upto:
                # The released loader's rule: as many pieces as the text up to there has.
                tried += 1
                assert plain == whole
                opened = ids.index(tokenizer.tag("<phrase>"))
                closed = ids.index(tokenizer.tag("</phrase>"))
                assert (opened - 1, closed - 2) == (len(before), len(upto))
            else:  # within a piece, where the loader drops the row or takes the whole piece
                assert tokenizer.decode(plain) == tokenizer.decode(whole)
    assert tried or "'" in text
