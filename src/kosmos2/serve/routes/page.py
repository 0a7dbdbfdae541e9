"""The page at `/`: static files of this package, each by its exact name, and none besides.

A name is looked up in a table, so no path of a request ever becomes a path of the disk.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from kosmos2.serve.failures import Refused

router = APIRouter(include_in_schema=False)

# Scripts, styles and pictures of this server; asks this server alone. Nothing stands in the page
# itself that could run, so words of a model or a link cannot either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HTML, _CSS = "text/html; charset=utf-8", "text/css; charset=utf-8"
_JS, _SVG, _JPEG = "text/javascript; charset=utf-8", "image/svg+xml", "image/jpeg"
_STYLES = ("base", "rooms", "picture")
_SCRIPTS = (
    "answer", "api", "boxes", "clipboard", "drawing", "examples", "failures", "form", "formats",
    "heat", "knobs", "labels", "main", "palette", "picture", "request", "side", "sources", "stage",
    "state", "theme", "things",
)  # fmt: skip
EXAMPLES = ("snowman", "hamburger", "drum", "pumpkin")


class File(NamedTuple):
    """One file that the page is made of."""

    place: str  # in this package
    kind: str

    def read(self) -> bytes:
        """What is in it."""
        return files("kosmos2").joinpath(self.place).read_bytes()


INDEX = File("serve/page/index.html", _HTML)

TABLE = {
    "icon.svg": File("serve/page/icon.svg", _SVG),
    **{f"{name}.css": File(f"serve/page/{name}.css", _CSS) for name in _STYLES},
    **{f"{name}.js": File(f"serve/page/{name}.js", _JS) for name in _SCRIPTS},
    **{f"examples/{name}.jpg": File(f"assets/examples/{name}.jpg", _JPEG) for name in EXAMPLES},
}


@router.api_route("/", methods=["GET", "HEAD"])
def page(request: Request) -> Response:
    """The page."""
    return _told(request, INDEX)


@router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
def part(request: Request, name: str) -> Response:
    """A file that the page asks for."""
    file = TABLE.get(name)
    if file is None:
        raise Refused("not_found")
    return _told(request, file)


def _told(request: Request, file: File) -> Response:
    """The file, or word that the browser has it already."""
    content = file.read()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "no-cache",  # kept, but asked about each time
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    known = [
        tag.strip().removeprefix("W/")
        for tag in request.headers.get("if-none-match", "").split(",")
    ]
    if etag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=file.kind, headers=headers)
