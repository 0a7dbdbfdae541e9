"""Class names as English says them."""

import pytest

from kosmos2.data.instructions import uncapital
from kosmos2.data.templates import OF_MANY, OF_ONE, article, number, phrase, plural


@pytest.mark.parametrize(
    ("noun", "one", "many"),
    [
        ("dog", "a dog", "dogs"),
        ("apple", "an apple", "apples"),
        ("hour hand", "an hour hand", "hour hands"),
        ("unicorn", "a unicorn", "unicorns"),
        ("uniform", "a uniform", "uniforms"),
        ("umbrella", "an umbrella", "umbrellas"),
        ("one-way sign", "a one-way sign", "one-way signs"),
        ("onion", "an onion", "onions"),
        ("bus", "a bus", "buses"),
        ("sandwich", "a sandwich", "sandwiches"),
        ("baby", "a baby", "babies"),
        ("monkey", "a monkey", "monkeys"),
        ("person", "a person", "people"),
        ("fireman", "a fireman", "firemen"),
        ("human", "a human", "humans"),
        ("Person", "a Person", "People"),
        ("woman", "a woman", "women"),
        ("knife", "a knife", "knives"),
        ("giraffe", "a giraffe", "giraffes"),
        ("sheep", "a sheep", "sheep"),
        ("traffic light", "a traffic light", "traffic lights"),
        ("glass of wine", "a glass of wine", "glasses of wine"),
        ("wine glass", "a wine glass", "wine glasses"),
        ("box", "a box", "boxes"),
        ("scissors", "scissors", "scissors"),
        ("broccoli", "broccoli", "broccoli"),
        ("potato", "a potato", "potatoes"),
        ("photo", "a photo", "photos"),
    ],
)
def test_a_noun_has_its_article_and_its_plural(noun, one, many):
    assert f"{article(noun)} {noun}".strip() == one
    assert plural(noun) == many


def test_underscores_of_class_names_are_spaces():
    assert [phrase(template, "traffic_light", 1) for template in OF_ONE] == [
        "a traffic light",
        "the traffic light",
        "traffic light",
    ]


def test_several_are_told_by_their_number_as_a_word():
    assert [phrase(template, "fire_hydrant", 2) for template in OF_MANY] == [
        "two fire hydrants",
        "the fire hydrants",
        "fire hydrants",
    ]
    assert number(12) == "twelve"
    assert number(40) == "many"


def test_no_blank_stays_where_a_noun_wants_no_article():
    assert phrase("{a} {noun}", "scissors", 1) == "scissors"


def test_only_words_that_open_phrases_lose_their_capital():
    assert uncapital("A dog") == "a dog"
    assert uncapital("Two dogs") == "two dogs"
    assert uncapital("Anna") == "Anna"
    assert uncapital("Theo's dog") == "Theo's dog"
    assert uncapital("") == ""
