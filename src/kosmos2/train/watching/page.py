"""What our pages are made of: one file, light and dark, no script, no request, all data escaped.

Colours and letters are those of the server's page, boxes and their colours those of every drawing.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence

from PIL import Image

from kosmos2.overlay import POLICY

_NOT_IN_HTML = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_STYLE = """
:root{color-scheme:light dark;
--page:light-dark(#f5f4f0,#131519);--card:light-dark(#fff,#1c1f25);
--sunk:light-dark(#efede7,#15181d);--line:light-dark(#dcd9d1,#333842);
--ink:light-dark(#1b1e24,#eceef2);--soft:light-dark(#5a5f69,#a9b0bc);
--blue:light-dark(#1f4fc4,#9dbcff);--good:light-dark(#1c7a3e,#7ddc9b);
--bad:light-dark(#a3231b,#ffb4a9);--bad-ground:light-dark(#fdecea,#3a1b19);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);padding:clamp(1rem,3vw,2.5rem)}
main{max-width:68rem;margin:0 auto;display:grid;gap:clamp(1rem,2vw,1.5rem);
grid-template-columns:minmax(0,1fr)}
h1{font-size:clamp(1.5rem,1.1rem + 1.6vw,2.1rem);line-height:1.2;margin:0;letter-spacing:-.01em;
overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0 0 .8rem}
h3{font-size:1rem;margin:0 0 .5rem;overflow-wrap:anywhere}
p{margin:.35rem 0 0;max-width:60rem;overflow-wrap:anywhere}
.soft{color:var(--soft);font-size:.9rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:clamp(.9rem,2.2vw,1.4rem);min-width:0}
.alert{background:var(--bad-ground);color:var(--bad);border-radius:10px;padding:.8rem 1rem;
border-inline-start:4px solid var(--bad);overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:start;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:anywhere}
tr:last-child>*{border-bottom:0}
th{font-weight:500;color:var(--soft)}
td.number,th.number{text-align:end;font-variant-numeric:tabular-nums;padding:.3rem 0 .3rem .6rem}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;
font-size:.85em}
pre{background:var(--sunk);border-radius:8px;padding:.8rem 1rem;overflow-x:auto;margin:.6rem 0 0}
summary{cursor:pointer;color:var(--blue);padding:.3rem 0}
:focus-visible{outline:3px solid var(--blue);outline-offset:2px;border-radius:4px}
"""


def escape(text: str) -> str:
    """Words of a data set, as they may stand between tags and inside quotes."""
    return html.escape(_NOT_IN_HTML.sub("\N{REPLACEMENT CHARACTER}", text))


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page. `title` is plain words, `body` is markup that was escaped where it was made."""
    inside = "\n".join(part for part in body if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{inside}\n</main>\n</body>\n</html>\n"
    )


def card(heading: str, *body: str) -> str:
    """A part of a page under its own heading; nothing where it would be empty."""
    inside = "\n".join(part for part in body if part)
    if not inside:
        return ""
    return f'<section class="card">\n<h2>{escape(heading)}</h2>\n{inside}\n</section>'


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
        for name, value in rows
    )
    return f"<table>\n{lines}</table>" if rows else ""


def data_url(picture: Image.Image, *, lossless: bool = False) -> str:
    """A picture inside the page itself."""
    file = io.BytesIO()
    if lossless:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=85)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
