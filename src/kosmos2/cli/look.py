"""The commands that look at pictures: each is a verb of `Kosmos2`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2 import prompts
from kosmos2.cli import arguments as words
from kosmos2.cli import output
from kosmos2.cli.arguments import Commands, Parser, UsageError, command
from kosmos2.cli.loading import load
from kosmos2.errors import InputError, PromptError
from kosmos2.geometry import Box

if TYPE_CHECKING:
    from kosmos2.grounder import Kosmos2
    from kosmos2.images import Picture
    from kosmos2.result import Grounded

LOCATED = (".png", ".json")
FAINT = 0.05  # a box of a lower score, which a map shows as well, is not drawn
TOGETHER = 8  # pictures that are read and answered at once


def add(commands: Commands) -> None:
    """Add caption, ground, locate, describe, ask and complete."""
    caption = command(commands, "caption", _several, "say what is in a picture, with boxes")
    caption.add_argument("images", nargs="+", metavar="IMAGE")
    caption.add_argument("--detailed", action="store_true", help="in several sentences")
    _closer(caption, "look again at each thing, and for things that were left out")
    _plain(caption)
    ground = command(commands, "ground", _single, "find what phrases name")
    _image(ground)
    ground.add_argument("phrases", nargs="+", metavar="PHRASE")
    locate = command(commands, "locate", _located, "weigh all places where a phrase may be")
    _image(locate)
    locate.add_argument("phrase", metavar="PHRASE")
    locate.add_argument(
        "--best", type=words.whole(1), default=5, metavar="N", help="most boxes (%(default)s)"
    )
    _closer(locate, "look again at the part of the picture around the best box")
    words.answer_options(locate, LOCATED)
    words.model_options(locate)
    describe = command(commands, "describe", _single, "say what stands in a box")
    _image(describe)
    _box(describe, required=True)
    _closer(describe, "look at the part of the picture around the box")
    _plain(describe)
    ask = command(commands, "ask", _single, "answer a question about a picture")
    _image(ask)
    ask.add_argument("question", metavar="QUESTION", help="phrases with a --box in [brackets]")
    _box(ask, action="append")
    _plain(ask)
    complete = command(commands, "complete", _single, "go on from a prompt in raw markup")
    _image(complete)
    complete.add_argument("prompt", metavar="PROMPT", help="such as '<grounding> An image of'")
    for parser in (caption, ground, describe, ask, complete):
        words.answer_options(parser)
        words.model_options(parser)
        words.setting_options(parser)


@dataclass(frozen=True, slots=True)
class _Shown:
    """How answers are shown."""

    as_json: bool
    coords: str
    colours: bool
    live: bool  # somebody watches the words come

    @classmethod
    def of(cls, arguments: Namespace) -> _Shown:
        live = not arguments.json and output.is_terminal(sys.stdout)
        colours = live and output.has_colours(sys.stdout)
        return cls(arguments.json, arguments.coords, colours, live)


def _single(arguments: Namespace) -> int:
    """One picture: everything that can be refused is, before a model is loaded."""
    from kosmos2.images import open_picture

    settings = words.settings(arguments)
    (place,) = _places(arguments.save, [arguments.image], words.FORMATS)
    picture = open_picture(arguments.image)
    wanted = _wanted(arguments, picture)
    shown = _Shown.of(arguments)
    answer = _answer(load(arguments), arguments.command, picture, wanted, settings, shown)
    _finish(answer, picture, arguments.image, place, shown)
    return 0


def _several(arguments: Namespace) -> int:
    """Any number of pictures; one that cannot be read is reported and the others are answered."""
    from kosmos2.images import open_picture

    if len(arguments.images) == 1:
        arguments.image = arguments.images[0]
        return _single(arguments)
    settings = words.settings(arguments)
    names = arguments.images
    left = list(zip(names, _places(arguments.save, names, words.FORMATS)))
    shown = _Shown.of(arguments)
    model: Kosmos2 | None = None
    code = 0
    together = 1 if shown.live else TOGETHER
    while left:
        part, left = left[:together], left[together:]
        ready: list[tuple[str, Path | None, Picture]] = []
        for name, place in part:
            try:
                ready.append((name, place, open_picture(name)))
            except InputError as error:
                output.complain(str(error))
                code = code or error.exit_code
        if not ready:
            continue
        model = model or load(arguments)
        wanted = _wanted(arguments, ready[0][2])
        if shown.live:
            ((name, place, picture),) = ready
            output.show(output.dim(output.clean(name), colours=shown.colours))
            answers = [_answer(model, "caption", picture, wanted, settings, shown)]
        else:
            answers = model.caption([picture for *_, picture in ready], **wanted, **settings)
        for (name, place, picture), answer in zip(ready, answers):
            if not shown.live and not shown.as_json:
                output.show(output.clean(name))
            _finish(answer, picture, name, place, shown)
            if left and not shown.as_json:
                output.show("")
    return code


def _located(arguments: Namespace) -> int:
    """All places of one phrase: a table of boxes, and a picture of how warm each cell is."""
    from kosmos2.images import open_picture
    from kosmos2.markup import Entity
    from kosmos2.result import Grounded

    (place,) = _places(arguments.save, [arguments.image], LOCATED)
    picture = open_picture(arguments.image)
    prompts.ground(arguments.phrase)
    shown = _Shown.of(arguments)
    found = load(arguments).locate(
        picture, arguments.phrase, best=arguments.best, closer=arguments.closer
    )
    size = (picture.width, picture.height)
    document = _json({**found.to_dict(shown.coords, *size), "file": arguments.image})
    answer = Grounded(
        text=found.phrase,
        entities=(Entity(found.phrase, 0, len(found.phrase), found.boxes),),
        picture=picture,
    )
    if shown.as_json:
        output.show(document)
    else:
        output.show(f"{output.sentence(answer, colours=shown.colours)}: {found.presence:.0%} there")
        for line in output.table(answer, shown.coords, colours=shown.colours):
            output.show(line)
    if place is not None:
        from kosmos2.drawing import draw, draw_heat, whole

        with whole(place) as draft:
            if place.suffix.lower() == ".json":
                draft.write_text(document + "\n", encoding="utf-8")
            else:
                drawn = draw(draw_heat(picture, found.heat), _without_faint(answer))
                drawn.save(draft, format="PNG")
        output.note(f"saved {place}")
    return 0


def _without_faint(answer: Grounded) -> Grounded:
    """The answer as it is drawn: its best box, and others that are worth a line in the picture."""
    (entity,) = answer.entities
    best, *others = entity.boxes
    worth = (box for box in others if (box.score or 0.0) >= FAINT)
    return replace(answer, entities=(replace(entity, boxes=(best, *worth)),))


def _wanted(arguments: Namespace, picture: Picture) -> dict[str, Any]:
    """What the verb is asked, checked as far as it can be without a model."""
    plain = {"grounded": not getattr(arguments, "plain", False)}
    closely = {"closer": True} if getattr(arguments, "closer", False) else {}
    match arguments.command:
        case "caption":
            if closely and arguments.plain:
                raise UsageError("--closer looks at boxes, which --plain leaves out; drop one")
            return {"detailed": arguments.detailed, **plain, **closely}
        case "ground":
            for phrase in arguments.phrases:
                prompts.ground(phrase)
            return {"phrases": arguments.phrases}
        case "describe":
            box = _checked(arguments.box, arguments.coords, picture)
            return {"box": box, **plain, **closely}
        case "ask":
            given = arguments.box or []
            boxes = [_checked(box, arguments.coords, picture) for box in given] or None
            prompts.ask(arguments.question, boxes=boxes)
            return {"question": arguments.question, "boxes": boxes, **plain}
        case _:
            prompts.complete(arguments.prompt)
            return {"prompt": arguments.prompt}


def _checked(values: Sequence[float], coords: str, picture: Picture) -> Box:
    try:
        return Box.checked(Box.from_scaled(values, coords, picture.width, picture.height))
    except PromptError as error:
        given = ",".join(f"{value:g}" for value in values)
        fault, _, _ = str(error).partition("; ")
        other = (
            "pixels need --coords px"
            if coords != "px"
            else f"{picture.width} x {picture.height} pixels are there"
        )
        raise UsageError(
            f"--box {given} in {coords} is no box of this picture: {fault}; "
            f"give X1,Y1,X2,Y2 from the top left ({other})"
        ) from error


def _answer(
    model: Kosmos2,
    verb: str,
    picture: Picture,
    wanted: dict[str, Any],
    settings: dict[str, Any],
    shown: _Shown,
) -> Grounded:
    """Ask; where somebody watches, the words appear as they come."""
    from kosmos2.markup import Entity, Text
    from kosmos2.result import Grounded

    # Phrases are found in one batch, which is quicker than to be seen one after the other; and
    # there is no stream of a second look.
    if not shown.live or verb == "ground" or "closer" in wanted:
        answer: Grounded = getattr(model, verb)(picture, **wanted, **settings)
        if shown.live:
            output.show(output.sentence(answer, colours=shown.colours))
        return answer
    live = output.Live(sys.stdout, colours=shown.colours)
    entities = 0
    try:
        for event in getattr(model.stream, verb)(picture, **wanted, **settings):
            if isinstance(event, Text):
                live.write(event.text)
            elif isinstance(event, Entity):
                live.paint(event.start, event.end, entities)
                entities += 1
            elif isinstance(event, Grounded):
                answer = event
    finally:
        live.end()
    return answer


def _finish(
    answer: Grounded, picture: Picture, name: str, place: Path | None, shown: _Shown
) -> None:
    """Show what is to be shown of a whole answer, and write its file."""
    if shown.as_json:
        output.show(_json({**answer.to_dict(shown.coords), "file": name}))
    else:
        if not shown.live:
            output.show(output.sentence(answer, colours=False))
        for line in output.table(answer, shown.coords, colours=shown.colours):
            output.show(line)
        for line in output.remarks(answer):
            output.show(output.dim(f"  {line}", colours=shown.colours))
    if place is not None:
        from kosmos2.drawing import save

        save(picture, answer, place, coords=shown.coords)
        output.note(f"saved {place}")


def _json(document: dict[str, Any]) -> str:
    """One line; with another encoding than UTF-8, letters it lacks are escaped as JSON has it."""
    letters = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    return json.dumps(document, ensure_ascii=not letters)


def _places(save: str | None, names: Sequence[str], formats: Sequence[str]) -> list[Path | None]:
    """Where each answer is written; of several, each gets its number into the name.

    Raises:
        UsageError: a name of no known format, in no folder, or that of a picture asked about.
    """
    if save is None:
        return [None] * len(names)
    path = Path(save)
    if path.suffix.lower() not in formats:
        raise UsageError(
            f"--save {save}: an answer is saved by the end of its name; "
            f"end it in {', '.join(formats)}"
        )
    if not path.parent.is_dir():
        raise UsageError(f"--save {save}: there is no folder {path.parent}; make it first")
    places: list[Path | None] = [path]
    if len(names) > 1:
        digits = len(str(len(names)))
        places = [
            path.with_name(f"{path.stem}-{number:0{digits}}{path.suffix}")
            for number in range(1, len(names) + 1)
        ]
    for place in places:
        if place is not None and place.exists() and any(_same(place, name) for name in names):
            raise UsageError(f"--save would write over the picture {place}; choose another name")
    return places


def _same(place: Path, name: str) -> bool:
    try:
        return place.samefile(name)
    except OSError:  # one of them is not there
        return False


def _image(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE")


def _plain(parser: Parser) -> None:
    parser.add_argument("--plain", action="store_true", help="words alone, without boxes")


def _closer(parser: Parser, what: str) -> None:
    parser.add_argument("--closer", action="store_true", help=f"{what}, for what is small")


def _box(parser: Parser, **more: Any) -> None:
    parser.add_argument(
        "--box", type=words.numbers, metavar="X1,Y1,X2,Y2",
        help="from the top left, in the unit of --coords", **more,
    )  # fmt: skip
