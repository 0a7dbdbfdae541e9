"""What a server is told before it starts: how much it may take on, and where it listens."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path

from kosmos2.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much one request may ask for, and how many may ask."""

    running: int = 8  # requests answered side by side
    queued: int = 64  # requests that wait; one more is refused
    body_bytes: int = 16 * 2**20
    header_s: float = 10.0  # for a request's head to come
    body_s: float = 30.0  # and its body
    picture_bytes: int = 10 * 2**20
    pixels: int = 40_000_000
    aspect: int = 200  # longer side over shorter side
    pictures: int = 8
    decode_workers: int = 2
    decode_s: float = 5.0
    decode_memory: int = 700 * 2**20  # bytes of address space above what a worker needs to start
    choices: int = 8
    stops: int = 4
    phrases: int = 64
    boxes: int = 64
    messages: int = 64
    characters: int = 32_768
    top_logprobs: int = 20
    deadline_s: float = 120.0  # for a whole answer
    drain_s: float = 30.0  # for what runs when the server is told to stop

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            whole = one.type == "int"
            real = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            least = 0 if one.name in ("queued", "drain_s") else 1 if whole else 0.001
            if not real or not math.isfinite(value) or value < least:
                kind = "whole number" if whole else "number"
                raise ConfigError(
                    f"limits.{one.name} is {value!r}; give a {kind} of at least {least:g}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """One server: its model, its address, and who may ask."""

    model: str = "demo"
    device: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    adapter: str | None = None  # a folder with a LoRA adapter, merged into the model
    revision: str | None = None
    offline: bool = True
    host: str = "127.0.0.1"
    port: int = 8000  # 0 takes a free one
    key_file: Path | None = None
    open: bool = False  # nobody needs a key; possible on this machine's own address only
    fetch_hosts: tuple[str, ...] = ()  # pictures may be fetched from these, by https
    threads: int | None = None  # for the engine's products; None: what suits the model
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if isinstance(self.port, bool) or not isinstance(self.port, int) or self.port not in PORTS:
            raise ConfigError(f"port is {self.port!r}; give a whole number from 0 to 65535")
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise ConfigError(f"threads is {self.threads!r}; give a whole number from 1 up")
        if self.open and self.key_file is not None:
            raise ConfigError("a key file and no keys contradict each other; leave one out")
        if not self.loopback and self.key_file is None:
            raise ConfigError(
                f"on {self.host!r} others could ask, and there are no keys; name a file of keys "
                "(`kosmos2 keys new NAME` makes one), or listen on 127.0.0.1"
            )
        if isinstance(self.fetch_hosts, str) or not all(map(_is_host, self.fetch_hosts)):
            raise ConfigError(f"fetch_hosts are {self.fetch_hosts!r}; give names of hosts")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


PORTS = range(65_536)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name: who knows where it leads


def _is_host(text: object) -> bool:
    return isinstance(text, str) and bool(text) and text.isascii() and not set(text) & set("/:@\\ ")
