"""Which addresses are asked for a picture: of everything that can be written, next to nothing."""

from __future__ import annotations

import ast
import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kosmos2.config import VisionConfig
from kosmos2.errors import ConfigError
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures import Pictures, addresses, fetch
from kosmos2.serve.pictures.addresses import Allowed, Target, is_public
from kosmos2.serve.settings import Limits

PACKAGE = Path(__file__).parents[2] / "src" / "kosmos2"
HOST = "images.example.org"
PUBLIC, LOOPBACK = "93.184.216.34", "127.0.0.1"


def spellings(port: int) -> list[str]:
    """Ways to write an address that leads to this machine, or to another that was not meant."""
    here = [
        "127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "localhost", "LOCALHOST", "localhost.",
        "localhost.localdomain", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001",
        "0177.0.0.1", "00177.0.0.01", "127.0.0.9", "127.255.255.254", "[::1]", "[::]",
        "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
        "[::1%lo]",
        "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "ⓛocalhost",
        "127.0.0.1.nip.io",
        "localtest.me", "xn--localhost-", "2852039166", "0xa9fea9fe", "169.254.169.254",
        "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "metadata.google.internal", "metadata",
        "169.254.169.254.", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[fc00::1]",
        "224.0.0.1", "255.255.255.255", "8.8.8.8", "[2001:4860:4860::8888]", "example.org",
        f"{HOST}.evil.test", f"evil-{HOST}", f"sub.{HOST}", f"{HOST}.", f".{HOST}", f"{HOST}..",
    ]  # fmt: skip
    urls = [f"{scheme}://{host}:{port}/a.png" for host in here for scheme in ("https", "http")]
    return [
        *urls,
        # One address for one reader, another for the next.
        f"https://{HOST}@{LOOPBACK}:{port}/a.png",
        f"https://{HOST}:443@{LOOPBACK}:{port}/",
        f"https://{HOST}\\@{LOOPBACK}:{port}/",
        f"https://{LOOPBACK}:{port}\\@{HOST}/",
        f"https://{LOOPBACK}:{port}#@{HOST}/",
        f"https://{LOOPBACK}:{port}?@{HOST}/",
        f"https://{LOOPBACK}:{port}/@{HOST}/",
        f"https://{LOOPBACK}:{port}%2f@{HOST}/",
        f"https://user:word@{HOST}/a.png",
        f"https://user@{HOST}/a.png",
        f"https://@{HOST}/a.png",
        f"https://{HOST}%00.{LOOPBACK}/",
        f"https://{HOST}%2e{LOOPBACK}/",
        f"https://{HOST}%0d%0aHost:{LOOPBACK}/",
        f"https://{HOST}\r\nHost: {LOOPBACK}/",
        f"https://{HOST}\0/",
        f"https://{HOST}\t/a.png",
        f"https://{HOST}/a.png\r\nX: y",
        f"https://{HOST}/a.png ",
        f" https://{HOST}/a.png",
        f"\nhttps://{HOST}/a.png",
        f"https://{HOST}/ä.png",
        f"https://{HOST} /a.png",
        f"https://{HOST}/a b.png",
        f"https:/{HOST}/a.png",
        f"https:{HOST}/a.png",
        f"https:///{HOST}/a.png",
        f"https:\\\\{HOST}\\a.png",
        f"https://{HOST}\\a.png",
        f"//{HOST}/a.png",
        f"{HOST}/a.png",
        f"{HOST}:443",
        f"https://{HOST}:{port}/",
        f"https://{HOST}:/",
        f"https://{HOST}:0/",
        f"https://{HOST}:80/",
        f"https://{HOST}:99999/",
        f"https://{HOST}:+443/",
        f"https://{HOST}:44３/",
        f"https://{HOST}:443:{port}/",
        f"https://[{HOST}]/",
        f"https://{HOST}[::1]/",
        f"https://im\u00adages.example.org:{port}/",
        f"https://imageſ.example.org:{port}/",
        "https://",
        "https:",
        "https:///",
        "https://?",
        f"https://{HOST}/" + "a" * 5_000,
        # Other ways to ask.
        f"http://{HOST}/a.png",
        f"HTTP://{LOOPBACK}:{port}/a.png",
        f"ftp://{LOOPBACK}:{port}/a.png",
        f"gopher://{LOOPBACK}:{port}/_GET",
        f"dict://{LOOPBACK}:{port}/x",
        f"ws://{LOOPBACK}:{port}/",
        f"jar:https://{HOST}!/a.png",
        f"view-source:https://{HOST}/",
        f"blob:https://{HOST}/1",
        f"url:https://{HOST}/",
        f"https+unix://{HOST}/",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        f"file://{HOST}/a.png",
        "FILE:/etc/passwd",
        "/etc/passwd",
        "../../etc/passwd",
        "~/.ssh/id_rsa",
        "C:\\a.png",
        "\\\\127.0.0.1\\share\\a.png",
        "javascript:alert(1)",
        "s3://bucket/a.png",
        "about:blank",
        "<img src='https://127.0.0.1/'>",
        f"![a](https://{HOST}/a.png)",
        "",
        " ",
        "\0",
    ]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whatever is looked up or connected to; it does not get through."""
    touched: list[object] = []

    def touch(*words: object, **_: object) -> object:
        touched.append(words)
        raise OSError("no network here")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
        monkeypatch.setattr(socket, name, touch)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, touch)
    return touched


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


@pytest.mark.parametrize("hosts", [(), (HOST,)], ids=["by default", "with one host listed"])
def test_no_spelling_of_an_address_sends_a_packet(
    hosts: tuple[str, ...], reached: list[object], canary: tuple[int, list[object]]
) -> None:
    urls = spellings(canary[0])
    assert len(set(urls)) >= 120

    async def story() -> None:
        pictures = Pictures(Limits(), VisionConfig(), fetch_hosts=hosts)  # no worker is needed
        for url in urls:
            with pytest.raises(Refused) as refused:
                await pictures.open(url, param="here")
            assert (refused.value.code, refused.value.param) == ("image_url_not_allowed", "here"), (
                url
            )
        await pictures.close()

    asyncio.run(story())
    assert not reached


def test_by_default_not_even_a_proper_address_is_asked(reached: list[object]) -> None:
    for url in (f"https://{HOST}/a.png", "https://example.org/a.png"):
        assert outcome(fetch.Fetch((), most_bytes=1000), url) == "image_url_not_allowed"
    assert not reached


def test_what_would_reach_for_the_network_is_seen(reached: list[object]) -> None:
    """The two tests above could fail."""
    fetcher = fetch.Fetch((HOST,), most_bytes=1000)
    assert outcome(fetcher, f"https://{HOST}/a.png") == "image_fetch_failed"
    assert reached == [(HOST, 443)]


def outcome(fetcher: fetch.Fetch, url: str) -> str:
    async def story() -> str:
        with pytest.raises(Refused) as refused:
            await fetcher(url, param="here")
        fetcher.close()
        return refused.value.code

    return asyncio.run(story())


# --- which addresses, which machines


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (f"https://{HOST}", Target(HOST, 443, "/")),
        (f"https://{HOST}/a.png", Target(HOST, 443, "/a.png")),
        (f"HTTPS://{HOST.upper()}/A.png?b=C&d=%20#e", Target(HOST, 443, "/A.png?b=C&d=%20")),
        (f"https://{HOST}:443/a@b:c", Target(HOST, 443, "/a@b:c")),
        (f"https://{HOST}?a=/b?c", Target(HOST, 443, "/?a=/b?c")),
        ("https://files.example.org:8443/x", Target("files.example.org", 8443, "/x")),
        ("https://[2001:DB8::1]/x", Target("2001:db8::1", 443, "/x")),
        ("https://203.0.113.9/x", Target("203.0.113.9", 443, "/x")),
        ("https://files.example.org/x", None),
        ("https://[2001:db8::1]:444/x", None),
        ("https://2001:db8::1/x", None),
    ],
)
def test_listed_hosts_are_asked_for_what_was_written(url: str, target: Target | None) -> None:
    listed = (HOST, "files.example.org:8443", "[2001:db8::1]", "203.0.113.9")
    assert Allowed(listed).target(url) == target


def test_a_request_names_the_host_as_it_was_listed() -> None:
    assert Target(HOST, 443, "/").authority == HOST
    assert Target(HOST, 8443, "/").authority == f"{HOST}:8443"
    assert Target("2001:db8::1", 8443, "/").authority == "[2001:db8::1]:8443"


@pytest.mark.parametrize(
    "listed", ["", "*", "*.example.org", f"https://{HOST}", f"{HOST}/a", "a b"]
)
def test_a_list_holds_hosts_and_nothing_else(listed: str) -> None:
    with pytest.raises(ConfigError, match="give a host, or host:port"):
        Allowed([listed])


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", PUBLIC, "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
)  # fmt: skip
def test_machines_in_public_may_be_asked(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "::127.0.0.1", "::7f00:1", "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "2002:a00:1::1",
        "2002:a9fe:a9fe::", "2001:0:7f00:1::", "2001:db8::1", "fc00::1", "fd00:ec2::254",
        "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "100::1", "5f00::1",
        "2606:2800:220:1::1%1", "", "localhost", "8.8.8", "1",
    ],
)  # fmt: skip
def test_other_machines_may_not(address: str) -> None:
    assert not is_public(address)


# --- nobody else


CLIENTS = {
    "aiohttp", "ftplib", "http.client", "httpcore", "httpx", "imaplib", "poplib", "pycurl",
    "requests", "smtplib", "telnetlib", "urllib.request", "urllib3", "websocket", "websockets",
    "xmlrpc.client",
}  # fmt: skip
LOCAL = {"huggingface_hub.CacheNotFound", "huggingface_hub.scan_cache_dir"}  # ask this machine
CALLS = {"open_connection", "create_connection", "getaddrinfo", "gethostbyname", "urlopen"}


def reaching(source: str) -> set[str]:
    """The names in a file by which it could ask another machine."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            found.add(node.attr)
    roots = {name for name in found for client in CLIENTS if f"{name}.".startswith(f"{client}.")}
    hub = {name for name in found if name.startswith("huggingface_hub.")} - LOCAL
    return roots | hub | (found & CALLS)


def test_only_two_files_of_the_package_can_ask_another_machine() -> None:
    files = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    found = {name for name, path in files.items() if reaching(path.read_text())}
    assert found == {"serve/pictures/fetch.py", "weights/fetch.py"}


@pytest.mark.parametrize(
    "source",
    [
        "import requests", "import urllib.request", "from urllib.request import urlopen",
        "from urllib import request", "import http.client as h", "from http import client",
        "import asyncio\nasyncio.open_connection('a', 1)",
        "import socket\nsocket.getaddrinfo('a', 1)",
        "def f():\n    from httpx import get", "from huggingface_hub import snapshot_download",
    ],
)  # fmt: skip
def test_each_of_these_would_be_seen(source: str) -> None:
    assert reaching(source)


def test_an_address_is_read_by_one_pattern_only() -> None:
    """A second reader could understand it otherwise."""
    for module in (addresses, fetch):
        assert "urllib" not in Path(module.__file__).read_text()
