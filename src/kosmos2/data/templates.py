"""English around a class name, and the templates of grounded instructions (table 9 of the paper).

A labelling export knows "traffic light"; people say "a traffic light", "the traffic lights", "two
traffic lights".
"""

from __future__ import annotations

import string

NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
OF_ONE = ("{a} {noun}", "the {noun}", "{noun}")
OF_MANY = ("{number} {nouns}", "the {nouns}", "{nouns}")
FIELDS = frozenset({"a", "noun", "nouns", "number"})

_PLURALS = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice",
    "goose": "geese", "tooth": "teeth", "foot": "feet", "ox": "oxen", "knife": "knives",
    "wolf": "wolves", "leaf": "leaves", "shelf": "shelves", "loaf": "loaves", "calf": "calves",
    "half": "halves", "scarf": "scarves", "thief": "thieves", "potato": "potatoes",
    "tomato": "tomatoes", "mango": "mangoes", "hero": "heroes", "cactus": "cacti",
}  # fmt: skip
_NO_MEN = frozenset({"human", "german", "roman", "ottoman", "caiman", "shaman", "talisman"})
_UNCHANGED = frozenset({"sheep", "fish", "deer", "aircraft", "moose", "bison", "series", "species"})
# Without an article, and the same for one and for many.
_NO_ARTICLE = frozenset({
    "scissors", "skis", "glasses", "sunglasses", "goggles", "pants", "trousers", "jeans", "shorts",
    "tongs", "pliers", "binoculars", "headphones", "stairs", "clothes", "people", "broccoli",
    "bread", "rice", "water", "grass", "sand", "snow", "food", "fruit", "luggage", "furniture",
    "jewelry", "clothing", "equipment", "machinery",
})  # fmt: skip
_A = ("uni", "use", "usu", "uti", "uk", "eu", "ewe", "one", "once", "ufo")
_AN = ("hour", "honest", "heir", "honor", "honour", "x-", "mri", "suv")


def article(noun: str) -> str:
    """Return "a" or "an", whichever the noun wants before it, or nothing where it wants none."""
    head = _head(noun)[1].lower()
    if head in _NO_ARTICLE:
        return ""
    start = noun.lower()
    vowel = start[:1] in tuple("aeiou") and not (
        start.startswith(_A) and not start.startswith(("unin", "unim"))
    )
    return "an" if vowel or start.startswith(_AN) else "a"


def plural(noun: str) -> str:
    """Return the noun as English counts several of it."""
    before, head, after = _head(noun)
    return before + _many(head) + after


def number(count: int) -> str:
    """Return a count as a word."""
    return NUMBERS[count] if count < len(NUMBERS) else "many"


def phrase(template: str, name: str, count: int) -> str:
    """A template filled for a class of which there are so many."""
    noun = noun_of(name)
    values = {"a": article(noun), "noun": noun, "nouns": plural(noun), "number": number(count)}
    return " ".join(template.format(**values).split())


def noun_of(name: str) -> str:
    """A class name as words: `traffic_light` is a traffic light."""
    return " ".join(name.replace("_", " ").split())


def fault_of(template: str) -> str | None:
    """What keeps a template from being filled, or None."""
    try:
        asked = {field for _, field, _, _ in string.Formatter().parse(template)} - {None}
    except ValueError as error:
        return f"{template!r} is broken: {error}"
    if unknown := asked - FIELDS:
        known = ", ".join(f"{{{field}}}" for field in sorted(FIELDS))
        return f"{template!r} has {{{min(map(str, unknown))}}}; known: {known}"
    return None if asked & {"noun", "nouns"} else f"{template!r} has no {{noun}} and no {{nouns}}"


def _head(noun: str) -> tuple[str, str, str]:
    """The word that is counted, with what stands before and after it: "glass of wine"."""
    first, of, rest = noun.partition(" of ")
    before, blank, head = first.rpartition(" ")
    return before + blank, head, of + rest


def _many(noun: str) -> str:
    small = noun.lower()
    if small in _UNCHANGED or small in _NO_ARTICLE:
        return noun
    if small in _PLURALS:
        return noun[:1] + _PLURALS[small][1:]
    if small.endswith("man") and small not in _NO_MEN:
        return noun[:-2] + "en"
    if small.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if small.endswith("y") and small[-2:-1] not in tuple("aeiou"):
        return noun[:-1] + "ies"
    return noun + "s"
