"""SVG and HTML answers: whole documents, nothing from outside, nothing unescaped."""

import re
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.errors import InputError
from kosmos2.geometry import Box, box_of
from kosmos2.markup import Entity, Problem
from kosmos2.overlay import document, html, svg

PIXEL = "data:image/jpeg;base64,AAAA"
NS = {"s": "http://www.w3.org/2000/svg"}
TEXT = "a snowman and two dogs here"
ENTITIES = (
    Entity("a snowman", 0, 9, (box_of(44, 863, 0.83),)),
    Entity("two dogs", 14, 22, (box_of(79, 1016, 0.5), box_of(135, 1008))),
    Entity("", 22, 22, (box_of(3, 4, 0.1),)),
)
EVIL = "\"><script>alert('x')</script><img src=//x.y onerror=\"1\">&amp; ' </style></svg>"
VOID = {"meta", "img", "image", "rect", "br"}


class Page(HTMLParser):
    """Every start tag with its attributes, the text, and whether tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    def all(self, css_class: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if css_class in (a.get("class") or "").split()]


def caption_of(page: str) -> str:
    return re.sub("<[^>]*>", "", page[page.index("<figcaption") : page.index("</figcaption>")])


def test_an_svg_is_xml_in_the_pixels_of_the_picture_with_the_picture_inside():
    root = ET.fromstring(svg(ENTITIES, 640, 480, PIXEL))
    assert root.get("viewBox") == "0 0 640 480"
    assert root.find("s:image", NS).attrib == {
        "href": PIXEL, "width": "640", "height": "480", "preserveAspectRatio": "none",
    }  # fmt: skip
    lines = root.findall(".//s:rect[@class='kosmos2-line']", NS)
    assert len(lines) == 4
    snowman = root.findall(".//s:g[@data-entity='0']/s:rect[@class='kosmos2-line']", NS)[0]
    assert [float(snowman.get(k)) for k in ("x", "y", "width", "height")] == [
        250, 22.5, 380, 375,
    ]  # fmt: skip
    texts = [t.text for t in root.findall(".//s:text", NS)]
    assert texts == ["a snowman 0.83", "two dogs 0.50", "two dogs", "0.10"]


def test_lines_at_the_edge_of_the_picture_are_drawn_whole():
    root = ET.fromstring(svg([Entity("all", 0, 3, (Box(0, 0, 1, 1),))], 640, 480))
    for line in root.findall(".//s:g[@class='kosmos2-box']/s:rect", NS):
        x, y, wide, high, stroke = (
            float(line.get(k)) for k in ("x", "y", "width", "height", "stroke-width")
        )
        assert min(x, y, 640 - x - wide, 480 - y - high) >= stroke / 2 - 0.01


def test_scores_can_be_left_out():
    page = document(TEXT, ENTITIES, 640, 480, PIXEL, scores=False)
    assert not re.search(r">[^<]*0\.83", page)
    assert "data-score=" not in page


def test_every_phrase_and_every_box_can_be_reached_and_says_what_it_is():
    page = Page(document(TEXT, ENTITIES, 640, 480, PIXEL))
    phrases, boxes = page.all("kosmos2-words"), page.all("kosmos2-box")
    assert [p["aria-label"] for p in phrases] == [
        "a snowman: 1 box, score 0.83",
        "two dogs: 2 boxes, score 0.50",
        "something unnamed: 1 box, score 0.10",
    ]
    assert len(boxes) == 4
    assert {a["tabindex"] for a in phrases + boxes} == {"0"}
    assert all(a["role"] and a["aria-label"] for a in phrases + boxes)
    assert {a["data-entity"] for a in phrases} == {a["data-entity"] for a in boxes}


def test_a_rule_of_style_ties_each_phrase_to_its_boxes_both_ways():
    page = html(TEXT, ENTITIES, 640, 480, PIXEL)
    for index in range(len(ENTITIES)):
        one = f'[data-entity="{index}"]'
        when = f".kosmos2:has({one}:is(:hover,:focus-visible))"
        assert f"{when} {one} .kosmos2-line{{fill-opacity" in page
        assert f"{when} .kosmos2-words{one}{{background" in page


def test_several_answers_can_share_a_page():
    page = Page(html(TEXT, ENTITIES, 640, 480, PIXEL) * 2)
    assert not [a["id"] for _, a in page.tags if "id" in a]
    # Rules reach no further than the figure: each begins at the figure's own class.
    rules = re.findall(r"^(\S.*?)\{", html(TEXT, ENTITIES, 640, 480, PIXEL), re.MULTILINE)
    assert rules
    assert all("kosmos2" in rule or rule.startswith("@media") for rule in rules)


def test_a_document_runs_and_loads_nothing():
    text = document(EVIL, (Entity(EVIL, 0, len(EVIL), (box_of(0, 40),)),), 64, 48, PIXEL, EVIL)
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "a", "base"}
    assert not [k for _, a in page.tags for k in a if k.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    urls = [v for _, a in page.tags for k, v in a.items() if k in ("href", "src", "xlink:href")]
    assert urls == [PIXEL]
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert page.open == []
    assert EVIL in "".join(page.words)


def test_evil_words_leave_an_svg_well_formed():
    evil = Entity(EVIL + "\x00\x1b\ud800\ufffe", 0, 1, (box_of(0, 1000, 0.5),))
    root = ET.fromstring(svg([evil], 4000, 300, PIXEL, title=EVIL))
    assert root.get("aria-label") == EVIL
    assert root.find(".//s:script", NS) is None


def test_a_picture_from_elsewhere_is_refused():
    for href in ("https://example.org/a.png", "a.png", "javascript:1", "data:text/html,x"):
        with pytest.raises(InputError, match="data:image"):
            svg(ENTITIES, 10, 10, href)


def test_the_page_follows_light_and_dark():
    page = document(TEXT, ENTITIES, 640, 480, PIXEL)
    assert "color-scheme:light dark" in page
    assert "prefers-color-scheme:dark" in page


def test_problems_are_listed_in_words():
    problems = [Problem("lone_location", 7, "a location <outside>"), Problem("x", 9, "y")]
    page = Page(document(TEXT, ENTITIES, 640, 480, PIXEL, problems=problems))
    shown = "".join(page.words)
    assert "2 problems" in shown
    assert "lone_location at 7: a location <outside>" in shown
    assert "<details" not in html(TEXT, ENTITIES, 640, 480, PIXEL)


def test_without_a_size_there_is_the_text_alone():
    assert "<svg" not in html(TEXT, ENTITIES, 0, 0)
    assert caption_of(html(TEXT, ENTITIES, 0, 0)).endswith("a snowman and two dogs&#9634; here")


spans = st.integers(-5, 40)
any_entity = st.builds(
    Entity,
    st.text(max_size=9),
    spans,
    spans,
    st.lists(st.builds(Box, *[st.floats()] * 4), max_size=3).map(tuple),
)


@settings(deadline=None)
@given(
    st.text(max_size=30),
    st.lists(any_entity, max_size=5),
    st.integers(1, 9999),
    st.integers(1, 9999),
)
def test_whatever_the_spans_the_text_is_shown_once_and_the_page_is_sound(text, found, wide, high):
    page = document(text, tuple(found), wide, high, PIXEL)
    assert Page(page).open == []
    ET.fromstring(svg(found, wide, high, PIXEL, title=text))
    clean = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    shown = caption_of(page).replace("&#9634;", "")
    assert unescape(shown).replace("\r", "\n") == clean.replace("\r", "\n")
