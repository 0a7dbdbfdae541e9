"""The 24 recorded rows of the reference extraction, read its way and ours."""

import pytest

from kosmos2.geometry import box_of
from kosmos2.markup import DELIMITER, parse, reference_extract

SNOWMAN = (0.390625, 0.046875, 0.984375, 0.828125)
FIRE = (0.171875, 0.015625, 0.484375, 0.890625)
SMALL = (0.09375, 0.0, 0.15625, 0.03125)  # cells 3 and 4


def block(*pairs: tuple[int, int]) -> str:
    tags = DELIMITER.join(f"<patch_index_{a:04d}><patch_index_{b:04d}>" for a, b in pairs)
    return f"<object>{tags}</object>"


def fake(first: int, last: int, start: int, *corners: float) -> tuple:
    return f"<patch_index_{first}><patch_index_{last}>", (start, start), [corners]


B = block((44, 863))
TWO_DOGS = [(0.484375, 0.078125, 0.765625, 0.984375), (0.234375, 0.140625, 0.515625, 0.984375)]
WETSUIT = f"<grounding> a wet suit is at {block((3, 4), (5, 6))} in the picture"
GOLDEN = (
    f"<image> junk</image><grounding> An image of<phrase> a snowman</phrase>{B} warming himself by"
    f"<phrase> a fire</phrase>{block((5, 911))}."
)
DOG = "<phrase> a dog</phrase>"
SPACED = "<phrase> a dog</phrase> <object> <patch_index_0044> <patch_index_0863> </object> runs"
TWICE = f"<phrase> a dog</phrase>{B} and <phrase> a dog</phrase>{B}"

# name, caption, the reference's text and entities, our text, entities and kinds of problems
ROWS = [
    (
        "P1",
        GOLDEN,
        "An image of a snowman warming himself by a fire.",
        [("a snowman", (12, 21), [SNOWMAN]), ("a fire", (41, 47), [FIRE])],
    ),
    (
        "P2",
        f"<grounding><phrase> two dogs</phrase>{block((79, 1016), (135, 1008))} play",
        "two dogs play",
        [("two dogs", (0, 8), TWO_DOGS)],
    ),
    (
        "P3",
        WETSUIT,
        "a wet suit is at  in the picture",
        [fake(3, 4, 17, *SMALL), fake(5, 6, 17, 0.15625, 0.0, 0.21875, 0.03125)],
    ),
    ("P4", f"{DOG} runs", "a dog runs", []),
    ("P5 unclosed", f"{DOG}<object><patch_index_0044><patch_index_0863> runs", "a dog runs", []),
    ("P5 one", f"{DOG}<object><patch_index_0044></object> runs", "a dog runs", []),
    ("P5 three", f"{DOG}<object>{'<patch_index_0044>' * 3}</object> runs", "a dog runs", []),
    (
        "P5 trailing delimiter",
        f"{DOG}<object><patch_index_0044><patch_index_0863>{DELIMITER}</object> runs",
        "a dog runs",
        [],
    ),
    ("P6", SPACED, "a dog     runs", []),
    (
        "P7",
        TWICE,
        "a dog and  a dog",
        [("a dog", (0, 5), [SNOWMAN]), ("a dog", (11, 16), [SNOWMAN])],
    ),
    (
        "P7 as written by a model",
        f"{DOG}{B} and{DOG}{B}",
        "a dog and a dog",
        [("a dog", (0, 5), [SNOWMAN]), ("a dog", (10, 15), [SNOWMAN])],
    ),
    ("P8", f"<phrase> a <b</phrase>{B}", "a", [fake(44, 863, 2, *SNOWMAN)]),
    ("P9", f"1 < 2 and<phrase> x</phrase>{B} > 3", "1  x > 3", [("x", (3, 4), [SNOWMAN])]),
    ("P10", f"   <phrase>  a dog  </phrase>{B}  ", "a dog", [("a dog", (0, 5), [SNOWMAN])]),
    ("P11", f"<phrase></phrase>{B} x", "x", [fake(44, 863, -1, *SNOWMAN)]),
    ("P12", f"a<phrase> </phrase>{B} x", "a  x", [("", (2, 1), [SNOWMAN])]),
    (
        "P13",
        f"<phrase> a</phrase>{block((2000, 2001))}",
        "a",
        [("a", (0, 1), [(0.5, 1.9375, 0.5625, 1.96875)])],
    ),
    (
        "P14",
        f"<phrase> a</phrase>{block((863, 44))}",
        "a",
        [("a", (0, 1), [(0.984375, 0.828125, 0.390625, 0.046875)])],
    ),
    ("P15", f"<s> An<phrase> a</phrase>{B}.</s>", "An a.", [("a", (3, 4), [SNOWMAN])]),
    ("P16", "x</image>y</image>z", "z", []),
    (
        "P17",
        f"<phrase> a\ndog</phrase>{B}\n end\n",
        "a\ndog\n end",
        [("a\ndog", (0, 5), [SNOWMAN])],
    ),
    ("P18 over a line", "a <x\ny> b", "a <x\ny> b", []),
    ("P18 cut", "hello <phrase", "hello <phrase", []),
    (
        "P19",
        f"<phrase> a</phrase>{B}{block((1, 2))}",
        "a",
        [("a", (0, 1), [SNOWMAN]), fake(1, 2, 1, 0.03125, 0.0, 0.09375, 0.03125)],
    ),
    ("P20", f"{block((3, 4))} hello", "hello", [fake(3, 4, -1, *SMALL)]),
    (
        "P21",
        f"An  image   of<phrase> a</phrase>{B} ,x",
        "An  image   of a ,x",
        [("a", (15, 16), [SNOWMAN])],
    ),
    ("P22 empty", "", "", []),
    ("P22 ends", "</doc>hello</chunk></line>", "hello", []),
    ("P23", f"<phrase> a<pad></phrase>{B}", "a", [fake(44, 863, 1, *SNOWMAN)]),
    (
        "P24",
        f"<phrase> ein Schneemann ☃</phrase>{B} ñ",
        "ein Schneemann ☃ ñ",
        [("ein Schneemann ☃", (0, 16), [SNOWMAN])],
    ),
]

# Where our reading differs: text, (phrase, start, end, cells) and the kinds of problems.
OURS = {
    "P3": (
        "a wet suit is at  in the picture",
        [("", 16, 16, [(3, 4), (5, 6)])],
        ["box_without_phrase"],
    ),
    "P4": ("a dog runs", [], ["phrase_without_box"]),
    "P5 unclosed": ("a dog runs", [("a dog", 0, 5, [(44, 863)])], ["unclosed_object"]),
    "P5 one": ("a dog runs", [], ["odd_locations", "phrase_without_box"]),
    "P5 three": ("a dog runs", [], ["odd_locations", "phrase_without_box"]),
    "P5 trailing delimiter": ("a dog runs", [("a dog", 0, 5, [(44, 863)])], ["odd_locations"]),
    "P6": ("a dog runs", [("a dog", 0, 5, [(44, 863)])], []),
    "P8": ("a <b", [("a <b", 0, 4, [(44, 863)])], []),
    "P9": ("1 < 2 and x > 3", [("x", 10, 11, [(44, 863)])], []),
    "P11": ("x", [("", 0, 0, [(44, 863)])], ["empty_phrase"]),
    "P12": ("a  x", [("", 1, 1, [(44, 863)])], ["empty_phrase"]),
    "P13": ("a", [], ["unknown_location", "unknown_location", "phrase_without_box"]),
    "P14": ("a", [], ["inverted_box", "phrase_without_box"]),
    "P16": ("xyz", [], ["stray_tag", "stray_tag"]),
    "P19": (
        "a",
        [("a", 0, 1, [(44, 863)]), ("", 1, 1, [(1, 2)])],
        ["box_without_phrase"],
    ),
    "P20": ("hello", [("", 0, 0, [(3, 4)])], ["box_without_phrase"]),
    "P22 ends": ("hello", [], ["stray_tag", "stray_tag", "stray_tag"]),
    "P23": ("a", [("a", 0, 1, [(44, 863)])], ["stray_tag"]),
}


@pytest.mark.parametrize(
    ("caption", "text", "entities"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_reference_reading_is_as_recorded(caption, text, entities):
    assert reference_extract(caption) == (text, entities)


@pytest.mark.parametrize(
    ("name", "caption", "text", "entities"), ROWS, ids=[row[0] for row in ROWS]
)
def test_our_reading_differs_only_where_it_says_so(name, caption, text, entities):
    parsed = parse(caption.rpartition("</image>")[2] if name == "P1" else caption)
    found = [
        (e.phrase, (e.start, e.end), [box.corners for box in e.boxes]) for e in parsed.entities
    ]
    kinds = [problem.kind for problem in parsed.problems]
    if name in OURS:
        text, expected, problems = OURS[name]
        entities = [
            (phrase, (start, end), [box_of(*pair).corners for pair in cells])
            for phrase, start, end, cells in expected
        ]
        assert kinds == problems
    else:
        assert kinds == []
    assert (parsed.text, found) == (text, entities)
