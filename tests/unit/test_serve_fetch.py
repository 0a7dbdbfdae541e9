"""Pictures from other machines: one request, no more than was meant, and never kept waiting."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

import bombs
from kosmos2.config import VisionConfig
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures import Pictures, fetch
from kosmos2.serve.pictures.addresses import Target
from kosmos2.serve.settings import Limits

HOST = "images.example.org"
OTHER = "other.example.org"
PUBLIC, LOOPBACK = "93.184.216.34", "127.0.0.1"
PICTURE = bombs.good()
PATIENCE_S = 60
MOST = 100_000  # bytes
FAILED = "400 image_fetch_failed here"
NOT_ALLOWED = "400 image_url_not_allowed here"
TOO_LARGE = "400 image_too_large here"


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[int, list[object]]]:
    """A server that nobody should find: its port, and who came."""
    listening = socket.create_server((LOOPBACK, 0))
    listening.setblocking(False)
    came: list[object] = []
    yield listening.getsockname()[1], came
    with suppress(BlockingIOError):
        came.append(listening.accept()[1])
    listening.close()
    assert not came


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", key, "-out", made, "-days", "2", "-subj", f"/CN={HOST}",
            "-addext", f"subjectAltName=DNS:{HOST}",
        ],
        check=True, capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    return key, made


@pytest.fixture
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[1]))


Handle = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Machine:
    """A server on this machine that answers as a test wants it to; it plays every public one."""

    def __init__(self, certificate: tuple[Path, Path], reply: bytes | Handle) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate[1], certificate[0])
        self.reply = reply
        self.requests: list[bytes] = []
        self.dialled: list[str] = []
        self.looked_up: list[tuple[str, int]] = []
        self.answers = [PUBLIC]
        self.left = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Machine]:
        server = await asyncio.start_server(self.serve, LOOPBACK, 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield self
        finally:
            server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(self.reply, bytes):
                writer.write(self.reply)
                await writer.drain()
            else:
                await self.reply(writer)
        except (OSError, EOFError):
            pass
        finally:
            self.left.set()
            writer.transport.abort() if callable(self.reply) else writer.close()

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append((host, port))
        return self.answers

    async def dial(self, address: str, target: Target, tls: ssl.SSLContext) -> fetch.Streams:
        self.dialled.append(address)
        return await asyncio.open_connection(
            LOOPBACK, self.port, ssl=tls, server_hostname=target.host
        )

    def fetcher(self, trust: ssl.SSLContext, **settings) -> fetch.Fetch:
        given = {"most_bytes": MOST, "tls": trust, "resolve": self.resolve, "dial": self.dial}
        return fetch.Fetch((HOST, OTHER), **(given | settings))

    async def outcome(
        self, fetcher: fetch.Fetch, url: str = f"https://{HOST}/a.png"
    ) -> str | bytes:
        try:
            return await fetcher(url, param="here")
        except Refused as refused:
            return f"{refused.status} {refused.code} {refused.param}"


def reply(body: bytes = PICTURE, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Type": "image/png", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@pytest.fixture
def play(certificate: tuple[Path, Path], trust: ssl.SSLContext):
    """One fetch from a machine that gives a reply: what came of it, and the machine."""

    def played(said: bytes | Handle, url: str = f"https://{HOST}/a.png", **settings):
        async def story():
            async with Machine(certificate, said).listening() as machine:
                fetcher = machine.fetcher(trust, **settings)
                found = await machine.outcome(fetcher, url)
                if machine.requests:
                    await machine.left.wait()  # nobody is kept waiting either
                fetcher.close()
                return found, machine

        return asyncio.run(story())

    return played


def test_a_picture_is_fetched_with_nothing_but_its_address(
    play, monkeypatch: pytest.MonkeyPatch, canary: tuple[int, list[object]]
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary[0]}")
    found, machine = play(reply(), f"https://{HOST.upper()}/b/a.png?x=1&y=%20#part")
    assert found == PICTURE
    assert machine.looked_up == [(HOST, 443)]
    assert machine.dialled == [PUBLIC]
    first, *lines = machine.requests[0].decode().split("\r\n")
    assert first == "GET /b/a.png?x=1&y=%20 HTTP/1.1"
    sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert sent.pop("user-agent").startswith("kosmos2/")
    assert sent == {
        "host": HOST, "accept": "image/*", "accept-encoding": "identity", "connection": "close",
        "": "",
    }  # fmt: skip


def test_a_fetched_picture_is_decoded_like_any_other(
    certificate: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    async def story() -> None:
        async with Machine(certificate, reply()).listening() as machine:
            pictures = Pictures(Limits(decode_workers=1), VisionConfig(), fetch_hosts=(HOST,))
            pictures._fetch = machine.fetcher(trust)
            await pictures.start()
            found = await pictures.open(f"https://{HOST}/a.png", param="here")
            assert (found.width, found.height) == (30, 20)
            sent = await pictures.open(bombs.data_url(PICTURE), param="here")
            assert sent.digest == found.digest
            await pictures.close()

    asyncio.run(story())


def test_bodies_may_come_in_chunks_or_until_the_end(play) -> None:
    half = len(PICTURE) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (PICTURE[:half], PICTURE[half:], b""))
    said = reply(b"", Content_Length="", Transfer_Encoding="chunked") + chunks
    assert play(said)[0] == PICTURE
    said = reply(b"", Content_Length="").replace(b"HTTP/1.1", b"HTTP/1.0") + PICTURE
    assert play(said)[0] == PICTURE
    assert play(b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply())[0] == PICTURE


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 So", "308 So"])
def test_redirects_are_refused_wherever_they_lead(play, status: str) -> None:
    for place in (f"https://{HOST}/b.png", "http://169.254.169.254/", "//127.0.0.1/", "/b.png"):
        found, machine = play(reply(b"", status, Location=place))
        assert found == FAILED
        assert len(machine.requests) == len(machine.looked_up) == len(machine.dialled) == 1


BAD = {
    "no such picture": reply(b"", "404 Not Found"),
    "an error": reply(PICTURE, "500 Oh"),
    "nothing": reply(b"", "204 No Content"),
    "a part": reply(PICTURE, "206 Partial Content"),
    "a page": reply(Content_Type="text/html"),
    "bytes": reply(Content_Type="application/octet-stream"),
    "no kind": reply(Content_Type=""),
    "packed": reply(Content_Encoding="gzip"),
    "less than was said": reply(PICTURE, Content_Length=str(len(PICTURE) + 1)),
    "two lengths": reply(PICTURE, **{"Content_Length": "5", "content-length": "6"}),
    "no number": reply(PICTURE, Content_Length="many"),
    "a negative number": reply(PICTURE, Content_Length="-1"),
    "no protocol": b"hello\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "silence": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "too long a head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "a broken chunk": reply(b"zz\r\n", Content_Length="", Transfer_Encoding="chunked"),
}


@pytest.mark.parametrize("said", BAD.values(), ids=BAD)
def test_another_reply_is_no_picture(play, said: bytes) -> None:
    assert play(said)[0] == FAILED


def test_a_reply_that_says_it_is_too_large_is_not_read(play) -> None:
    assert play(reply(b"", Content_Length=str(MOST + 1)))[0] == TOO_LARGE


def test_no_more_is_read_than_is_allowed(play) -> None:
    exact = bytes(MOST)
    assert play(reply(exact))[0] == exact

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(reply(b"", Content_Length="", Transfer_Encoding="chunked"))
        while True:
            writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
            await writer.drain()

    assert play(endless)[0] == TOO_LARGE


@pytest.mark.parametrize("at", ["head", "body", "hints"])
def test_a_slow_drip_ends_with_the_time_for_all_of_it(play, at: str) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write({"head": b"HTTP/1.1 200 OK\r\nX: ", "hints": b""}.get(at, reply()[:-500]))
        while True:
            writer.write(b"HTTP/1.1 103 Early\r\n\r\n" if at == "hints" else b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    found, _ = play(cut_off(drip), total_s=0.5)
    assert found == FAILED


def cut_off(handle: Handle) -> Handle:
    """Runs until the client has gone."""

    async def until_gone(writer: asyncio.StreamWriter) -> None:
        work = asyncio.create_task(handle(writer))
        while not writer.transport.is_closing():
            await asyncio.sleep(0.01)
        work.cancel()

    return until_gone


def test_a_look_up_that_hangs_ends_with_the_time_for_all_of_it(play) -> None:
    over = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        over.wait(PATIENCE_S)
        return [PUBLIC]

    found, machine = play(reply(), resolve=hang, total_s=0.2)
    over.set()
    assert found == FAILED
    assert not machine.dialled


def test_a_second_answer_leads_nowhere_else(
    certificate: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    """A name that is public when looked at and this machine when dialled is looked up only once."""

    async def story() -> None:
        async with Machine(certificate, reply()).listening() as machine:
            fetcher = machine.fetcher(trust)
            assert await machine.outcome(fetcher) == PICTURE
            assert (len(machine.looked_up), machine.dialled) == (1, [PUBLIC])
            machine.answers = [LOOPBACK]
            assert await machine.outcome(fetcher) == NOT_ALLOWED
            assert (len(machine.looked_up), machine.dialled) == (2, [PUBLIC])
            fetcher.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "answers",
    [[LOOPBACK], [PUBLIC, LOOPBACK], ["::1", PUBLIC], [PUBLIC, "64:ff9b::a00:1"], ["fe80::1%lo"]],
)
def test_of_mixed_answers_none_is_used(play, answers: list[str]) -> None:
    found, machine = play(reply(), resolve=lambda *_: answers)
    assert found == NOT_ALLOWED
    assert not machine.dialled


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("too long")])
def test_a_name_that_stands_for_nothing_is_not_fetched_from(play, error: Exception) -> None:
    def fail(*_: object) -> list[str]:
        raise error

    assert play(reply(), resolve=fail)[0] == FAILED
    assert play(reply(), resolve=lambda *_: [])[0] == FAILED


def test_of_several_machines_the_first_that_answers_is_asked(
    certificate: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    async def story() -> None:
        async with Machine(certificate, reply()).listening() as machine:
            machine.answers = ["8.8.8.8", "1.1.1.1", PUBLIC]

            async def dial(address: str, target: Target, tls: ssl.SSLContext) -> fetch.Streams:
                if address == "8.8.8.8":
                    raise ConnectionRefusedError
                return await machine.dial(address, target, tls)

            fetcher = machine.fetcher(trust, dial=dial)
            assert await machine.outcome(fetcher) == PICTURE
            assert machine.dialled == ["1.1.1.1"]
            fetcher.close()

    asyncio.run(story())


def test_a_machine_that_cannot_show_it_is_the_host_is_told_nothing(play) -> None:
    found, machine = play(reply(), f"https://{OTHER}/a.png")  # the certificate is another's
    assert found == FAILED
    assert not machine.requests
    found, machine = play(reply(), tls=ssl.create_default_context())  # nobody vouches for it
    assert found == FAILED
    assert not machine.requests


def test_what_was_looked_up_is_what_is_dialled(
    certificate: tuple[Path, Path], trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real look-up and the real dialling, with this machine taken for a public one."""
    asked: list[object] = []

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[object]:
        asked.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))]

    async def story() -> None:
        async with Machine(certificate, reply()).listening() as machine:
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            monkeypatch.setattr(fetch, "is_public", lambda address: address == LOOPBACK)
            fetcher = fetch.Fetch((f"{HOST}:{machine.port}",), most_bytes=MOST, tls=trust)
            url = f"https://{HOST}:{machine.port}/a.png"
            assert await fetcher(url, param="here") == PICTURE
            assert asked == [(HOST, machine.port)]
            assert f"host: {HOST}:{machine.port}" in machine.requests[0].decode().lower()
            fetcher.close()

    asyncio.run(story())
