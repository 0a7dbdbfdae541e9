"""Who may ask: named keys, kept as digests in a file that may change while the server runs.

A line of the file is `NAME sha256:HEX [rate=60/min] [concurrent=4]`; `#` begins a comment. A key is
32 random bytes, so its digest needs no salt and no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kosmos2.errors import ConfigError

log = logging.getLogger(__name__)

PREFIX = "k2-"  # tells people, and scanners of leaked secrets, what it is
RANDOM_BYTES = 32
FILE_BYTES = 2**20  # thousands of lines; more is some other file
LOOK_S = 1.0  # the file is looked at no more often

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_RATE = re.compile(r"rate=([1-9][0-9]{0,5})/min")
_CONCURRENT = re.compile(r"concurrent=([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as anybody behind the door needs to know."""

    name: str  # of the key; "open" where none is wanted
    request_id: str


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file."""

    name: str
    digest: bytes
    per_minute: int | None = None
    concurrent: int | None = None


def new_key() -> str:
    """A fresh key, to be shown once."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def line_for(name: str, key: str) -> str:
    """The line that lets this key in.

    Raises:
        ConfigError: a name that cannot stand in the file.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a key; use 1 to 64 of A-Z a-z 0-9 _ . -")
    return f"{name} sha256:{_digest(key.encode()).hex()}"


class Keys:
    """The keys of a file, as it is now."""

    def __init__(
        self, path: Path, keys: Iterable[Key], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Use `read`; this takes keys that were read already."""
        self._path, self._clock = path, clock
        self._keys = tuple(keys)
        self._seen = _state(path)
        self._looked = clock()

    @classmethod
    def read(cls, path: Path, *, clock: Callable[[], float] = time.monotonic) -> Keys:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, holds no key, or has a faulty line, which is named.
        """
        return cls(path, _read(path), clock=clock)

    @property
    def names(self) -> tuple[str, ...]:
        """Whose keys they are."""
        return tuple(key.name for key in self._keys)

    def find(self, offered: str | bytes) -> Key | None:
        """The key that was offered, or None.

        It takes the same time whether and wherever it stands: only digests are compared, each
        without stopping at the first difference, and all of them always.
        """
        self._look()
        raw = offered.encode("utf-8", "surrogatepass") if isinstance(offered, str) else offered
        digest, found = _digest(raw), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def reload(self) -> None:
        """Read the file anew; a broken one is logged, and the keys stay as they were."""
        self._seen = _state(self._path)
        try:
            self._keys = _read(self._path)
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("read %d keys", len(self._keys))

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= LOOK_S:
            self._looked = now
            if _state(self._path) != self._seen:
                self.reload()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; an editor may also put another file in its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> tuple[Key, ...]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"the keys in {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text; `kosmos2 keys new` writes its lines") from error
    if len(raw) > FILE_BYTES:
        raise ConfigError(f"{path} is larger than {FILE_BYTES:,} bytes; is it a file of keys?")
    keys: dict[str, Key] = {}
    digests: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _key(words, f"{path}, line {number}")
        if key.name in keys or key.digest in digests:
            what = f"the name {key.name}" if key.name in keys else "its key"
            raise ConfigError(f"{path}, line {number}: {what} stands in the file already")
        keys[key.name] = key
        digests.add(key.digest)
    if not keys:
        raise ConfigError(f"{path} holds no key; add one: kosmos2 keys new NAME >> {path}")
    return tuple(keys.values())


def _key(words: list[str], place: str) -> Key:
    """One line. What it says is not repeated: somebody may have put a key there in plain."""
    name, digest, *limits = [*words, ""] if len(words) == 1 else words
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: a name is 1 to 64 of A-Z a-z 0-9 _ . -")
    if not (found := _DIGEST.fullmatch(digest)):
        raise ConfigError(f"{place}: after the name comes sha256: and 64 digits of 0-9 a-f")
    per_minute = concurrent = None
    for limit in limits:
        if (rate := _RATE.fullmatch(limit)) and per_minute is None:
            per_minute = int(rate[1])
        elif (most := _CONCURRENT.fullmatch(limit)) and concurrent is None:
            concurrent = int(most[1])
        else:
            raise ConfigError(
                f"{place}: after the key come rate=60/min and concurrent=4, each once or not at all"
            )
    return Key(name, bytes.fromhex(found[1]), per_minute, concurrent)
