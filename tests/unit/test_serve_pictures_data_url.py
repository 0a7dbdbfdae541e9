"""Pictures inside the request: one strict form, and nothing decoded that is too large."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures import data_url

PLACE = "messages[0].content[1]"


def read(url: str, most_bytes: int = 10 * 2**20) -> bytes:
    return data_url.read(url, most_bytes=most_bytes, param=PLACE)


def url_of(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@given(st.binary(min_size=1, max_size=200))
def test_bytes_come_back(data: bytes) -> None:
    assert read(url_of(data)) == data


@pytest.mark.parametrize("more", [-4, -3, -2, -1, 0, 1, 2, 3, 4])
def test_long_ones_come_back_whole_wherever_they_are_cut(more: int) -> None:
    data = os.urandom(data_url._SLICE // 4 * 3 * 2 + more)
    assert read(url_of(data)) == data


@pytest.mark.parametrize("kind", ["png", "jpeg", "jpg", "webp", "gif", "bmp", "tiff", "PNG"])
def test_the_six_formats_may_be_said_and_their_content_decides(kind: str) -> None:
    assert read(url_of(b"content", f"image/{kind}")) == b"content"
    assert read(url_of(b"content", f"image/{kind}").replace("data", "DATA", 1)) == b"content"


BAD = {
    "nothing": "",
    "no comma": "data:image/png;base64iVBORw==",
    "no base64": "data:image/png,iVBORw==",
    "no kind": "data:;base64,iVBORw==",
    "no kind at all": "data:,hello",
    "text": "data:text/plain;base64,aGVsbG8=",
    "html": "data:text/html;base64,aGVsbG8=",
    "svg": "data:image/svg+xml;base64,aGVsbG8=",
    "any": "data:image/*;base64,aGVsbG8=",
    "a parameter": "data:image/png;charset=utf-8;base64,aGVsbG8=",
    "a name": "data:image/png;name=a.png;base64,aGVsbG8=",
    "base64 said twice": "data:image/png;base64;base64,aGVsbG8=",
    "a space before the comma": "data:image/png;base64 ,aGVsbG8=",
    "a space after the comma": "data:image/png;base64, aGVsbG8=",
    "a space in the kind": "data: image/png;base64,aGVsbG8=",
    "an empty picture": "data:image/png;base64,",
    "only padding": "data:image/png;base64,==",
    "four of padding": "data:image/png;base64,====",
    "no padding": "data:image/png;base64,aGVsbG8",
    "too much padding": "data:image/png;base64,aGVsbG8==",
    "padding inside": "data:image/png;base64,aGVsbG8=aGVsbG8=",
    "padding first": "data:image/png;base64,=aGVsbG8",
    "one letter": "data:image/png;base64,a",
    "percent codes": "data:image/png;base64,aGVsbG8%3D",
    "percent codes in the head": "data:image%2Fpng;base64,aGVsbG8=",
    "the alphabet of addresses": "data:image/png;base64,-_-_",
    "a line break": "data:image/png;base64,aGVs\nbG8=",
    "a tab": "data:image/png;base64,aGVs\tbG8=",
    "a line break at the end": "data:image/png;base64,aGVsbG8=\n",
    "a NUL": "data:image/png;base64,aGVs\0bG8=",
    "letters beyond ASCII": "data:image/png;base64,aGVsbG8é",
    "wide letters": "data:image/png;base64,ａＧＶｓ",
    "half a letter": "data:image/png;base64,\ud800aaa",
    "a long s": "data:image/png;baſe64,aGVsbG8=",
    "a dotted i": "data:İmage/png;base64,aGVsbG8=",
    "a fragment": "data:image/png;base64,aGVsbG8=#a",
    "two of them": "data:image/png;base64,aGVsbG8=,aGVsbG8=",
    "an address": "data:image/png;base64,https://example.org/a.png",
}


@pytest.mark.parametrize("url", BAD.values(), ids=BAD)
def test_another_form_is_refused_at_its_place(url: str) -> None:
    with pytest.raises(Refused) as refused:
        read(url)
    assert (refused.value.code, refused.value.param) == ("image_url_invalid", PLACE)


@pytest.mark.parametrize("at", [0, 1, 2**16 - 1, 2**16, 2**16 + 5, 2**17, -1])
@pytest.mark.parametrize("wrong", [" ", "\n", "=", "%", "é"])
def test_long_ones_are_read_as_strictly(at: int, wrong: str) -> None:
    whole = base64.b64encode(bytes(3 * 2**18)).decode()
    with pytest.raises(Refused, match="image_url_invalid"):
        read("data:image/png;base64," + whole[:at] + wrong + whole[at:])


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 3 * 2**18])
def test_the_limit_is_of_the_bytes_and_exact(size: int) -> None:
    data = os.urandom(size)
    assert read(url_of(data), most_bytes=size) == data
    for more in (1, 2, 3, 4, 100):
        with pytest.raises(Refused) as refused:
            read(url_of(data + bytes(more)), most_bytes=size)
        assert (refused.value.code, refused.value.param) == ("image_too_large", PLACE)


def test_what_is_far_too_long_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_url, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(Refused, match="image_too_large"):
        read(url_of(bytes(1000)), most_bytes=900)
