"""Requests as bytes: what no library would send, and what readers of HTTP disagree about.

0 among the right statuses: the connection may also be closed without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

_HOST = b"Host: 127.0.0.1\r\n"
_JSON = b"Content-Type: application/json\r\n"
_POST = b"POST /v1/caption HTTP/1.1\r\n" + _HOST + _JSON
_NO, _NOT_HERE = frozenset({400}), frozenset({400, 404, 405})
_QUIET = frozenset({0, 400, 408})


def _get(path: bytes = b"/v1/models", *lines: bytes) -> bytes:
    head = b"GET " + path + b" HTTP/1.1\r\n" + _HOST
    return head + b"".join(line + b"\r\n" for line in lines) + b"Connection: close\r\n\r\n"


def _post(*lines: bytes, body: bytes = b"{}") -> bytes:
    return _POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def everything() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Name, bytes, and the statuses that are right."""
    yield from _lines()
    yield from _fields()
    yield from _lengths()
    yield from _elsewhere()


def _lines() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """The first line."""
    yield "nothing but line breaks", b"\r\n" * 100, _QUIET
    yield "noise", bytes(range(256)) * 4 + b"\r\n\r\n", _NO
    yield "zeros", bytes(1000) + b"\r\n\r\n", _NO
    yield "TLS", bytes.fromhex("16030100c8010000c40303") + bytes(200) + b"\r\n\r\n", _NO
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", _NO | {404, 405, 421}
    yield "SSH", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", _NO
    yield "SMTP", b"EHLO x\r\n\r\n", _NO
    yield "HTTP/0.9", b"GET /\r\n\r\n", _NO
    yield "HTTP/9.9", b"GET / HTTP/9.9\r\n" + _HOST + b"\r\n", _NO | {200}
    yield "HTTP/1.a", b"GET / HTTP/1.a\r\n" + _HOST + b"\r\n", _NO
    yield "no version", b"GET / \r\n" + _HOST + b"\r\n", _NO
    yield "two blanks", b"GET  / HTTP/1.1\r\n" + _HOST + b"\r\n", _NO
    yield "a blank in the path", _get(b"/v1/ models"), _NO
    yield "letters beyond ASCII", _get("/v1/möbel".encode()), _NO | {404}
    yield "a long path", _get(b"/" + b"a" * 100_000), frozenset({431})
    yield "a long question", _get(b"/?" + b"a=b&" * 25_000), frozenset({431})
    yield "a long method", b"A" * 100_000 + b" / HTTP/1.1\r\n" + _HOST + b"\r\n", frozenset({431})
    yield "an endless line", b"GET /" + b"a" * 200_000, frozenset({431})
    for method in (
        b"TRACE",
        b"CONNECT",
        b"PROPFIND",
        b"get",
        b"G\xe4T",
        b"DELETE",
        b"\x00",
        b"OPTIONS",
    ):
        head = method + b" / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"
        yield f"method {method!r}", head, _NOT_HERE
    for path in (b"*", b"//", b"/..", b"/%00", b"/%", b"/%zz", b"/%ff",
                 b"/%2e%2e/%2e%2e/etc/passwd", b"/..%2f..%2fetc/passwd",
                 b"/page/../../run.py", b"/page/%2e%2e/run.py",
                 b"/page/..%5crun.py", b"/page/%00", b"/page/%2fetc%2fpasswd", b"/page//etc/passwd",
                 b"/v1/models/%0d%0aX:y", b"/v1/models/..%2f..", b"/\\..\\", b"/v1/models;x",
                 b"/docs", b"/redoc", b"/.git/config", b"/.env", b"/server-status",
                 b"/debug/pprof"):  # fmt: skip
        yield f"path {path.decode()}", _get(path), _NOT_HERE


def _fields() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """The headers."""
    yield "no host", b"GET /v1/models HTTP/1.1\r\n\r\n", _NO
    yield "two hosts", _get(b"/", b"Host: localhost"), _NO
    yield "10,000 headers", _get(b"/", *[b"X-%d: y" % i for i in range(10_000)]), frozenset({431})
    yield "a long header", _get(b"/", b"X: " + b"a" * 100_000), frozenset({431})
    yield "a header that does not end", _get(b"/", b"X: ")[:-2] + b"a" * 200_000, frozenset({431})
    for line in (b"no colon", b": no name", b"X Y: z", b"X\0: y", b"X: \0", b"X: a\rb", b"X\xff: y",
                 b"(X): y", b"X\t: y", b"X : y"):  # fmt: skip
        yield f"header {line!r}", _get(b"/v1/models", line), _NO
    for line in (b"X: \xff\xfe", b"X:", b"X: a\r\n folded", b"Range: bytes=0-,0-,0-,0-,0-,0-",
                 b"Range: bytes=" + b"0-0," * 5_000, b"Accept: " + b"a/b," * 5_000,
                 b"Cookie: " + b"a=b; " * 5_000, b"If-None-Match: " + b'"a",' * 5_000,
                 b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Host: evil.example",
                 b"Forwarded: for=1.2.3.4;host=evil.example", b"X-Original-URL: /metrics",
                 b"X-HTTP-Method-Override: DELETE", b"Proxy: http://127.0.0.9:9/",
                 b"Accept-Encoding: gzip;q=NaN", b"Connection: Host", b"Upgrade: h2c",
                 b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Expect: 100-continue",
                 b"X-Request-Id: \x1b[2J", b"X-Request-Id: " + b"a" * 10_000,
                 b"TE: trailers, deflate", b"Trailer: Content-Length"):  # fmt: skip
        yield f"header {line[:40]!r}", _get(b"/v1/models", line), frozenset({200, 400})
    yield "a header that goes on the one before", _get(b"/", b" X: y"), _NO | {421}
    yield "bare line feeds", b"GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n", _NO | {200}


def _lengths() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Bodies whose end is not clear."""
    for length in (
        b"-1",
        b"+2",
        b"0x2",
        b"2 2",
        b"2,3",
        b"",
        b"2.0",
        b"99999999999999999999",
        b"\xb2",
    ):
        yield f"length {length!r}", _post(b"Content-Length: " + length), frozenset({400, 413})
    yield "lengths that differ", _post(b"Content-Length: 2", b"Content-Length: 3"), _NO
    yield (
        "length and chunks",
        _post(b"Content-Length: 2", b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
        _NO,
    )
    for coding in (
        b"xchunked",
        b"chunked, identity",
        b"gzip, chunked",
        b"\x0bchunked",
        b"identity",
    ):
        yield (
            f"coding {coding!r}",
            _post(b"Transfer-Encoding: " + coding, b"Connection: close"),
            _NO,
        )
    chunked = b"Transfer-Encoding: chunked"
    for size in (b"-2", b"0x2", b"g", b"", b" 2", b"F" * 21, b"F" * 1_000, b"2;" + b"a" * 100_000):
        yield (
            f"chunk of {size[:20]!r}",
            _post(chunked, body=size + b"\r\n{}\r\n0\r\n\r\n"),
            frozenset({400, 408, 413, 431}),
        )
    yield "chunk without its end", _post(chunked, body=b"2\r\n{}XX0\r\n\r\n"), _NO
    yield (
        "a trailer with a length",
        _post(chunked, b"Connection: close", body=b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
        _NO,
    )
    yield (
        "too large, and asks first",
        _post(b"Content-Length: 99999999999", b"Expect: 100-continue", body=b""),
        frozenset({413}),
    )
    yield "more than it said", _post(b"Content-Length: 2", body=b"{}" + b"x" * 1_000), _NO
    smuggled = b"GET /health/live HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"
    yield "one request in another", _post(b"Content-Length: 2", body=b"{}" + smuggled), _NO
    yield (
        "a hundred at once",
        (b"GET /health/live HTTP/1.1\r\n" + _HOST + b"\r\n") * 99 + smuggled,
        (frozenset({200})),
    )


def _elsewhere() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """For another host."""
    for host in (b"evil.example", b"127.0.0.1.evil.example", b"a/?", b"localhost@evil.example",
                 b"169.254.169.254", b"[::1", b"localhost:8000:9", b"", b"x" * 1_000):  # fmt: skip
        head = b"GET /health/live HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        yield f"host {host[:30]!r}", head, frozenset({400, 421})
    for target in (
        b"http://evil.example/",
        b"http://127.0.0.1/health/live",
        b"//evil.example/health/live",
    ):
        yield f"target {target.decode()}", _get(target), _NOT_HERE
