"""From the address of a picture in a request to what the network looks at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kosmos2.config import VisionConfig
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures import data_url
from kosmos2.serve.pictures.decoded import Decoded, digest_of
from kosmos2.serve.pictures.fetch import Fetch
from kosmos2.serve.pictures.pool import Pool
from kosmos2.serve.settings import Limits

_SHORT = 2**16  # characters or bytes that are read on the spot


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture's file, and the name that it will have when decoded."""

    data: bytes = field(repr=False)
    digest: str


class Pictures:
    """Opens the pictures of requests, in processes of their own."""

    def __init__(
        self,
        limits: Limits,
        vision: VisionConfig,
        *,
        fetch_hosts: Sequence[str] = (),
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._fetch = Fetch(fetch_hosts, most_bytes=limits.picture_bytes)
        self._pool = Pool(limits, vision.image_size, on_restart=on_restart)
        self._closed = False
        # One, as many would leave the event loop the last of them in line.
        self._thread = ThreadPoolExecutor(1, "kosmos2-pictures")

    async def start(self) -> None:
        """Have the workers ready.

        Raises:
            EngineError: one does not start.
        """
        await self._pool.start()

    async def close(self) -> None:
        """Leave no process behind."""
        self._closed = True
        self._fetch.close()
        self._thread.shutdown(wait=False)
        await self._pool.close()

    async def open(self, url: str, *, param: str) -> Decoded:
        """The picture of a `data:` address, or of an https one on a host that is listed.

        Raises:
            Refused: there is no such picture, or it is none that is taken; `param` is its place.
        """
        return await self.decode(await self.read(url, param=param), param=param)

    async def read(self, url: str, *, param: str) -> Encoded:
        """The file of a picture; enough to know whether it has been decoded before.

        Raises:
            Refused: as `open`.
        """
        if self._closed:
            raise Refused("draining")
        if not data_url.is_data_url(url):
            data = await self._fetch(url, param=param)
            return await self._beside(len(data), _named, data, param)
        return await self._beside(len(url), self._from_data_url, url, param)

    async def decode(self, encoded: Encoded, *, param: str) -> Decoded:
        """What the network looks at.

        Raises:
            Refused: as `open`.
        """
        return await self._pool.decode(encoded.data, encoded.digest, param=param)

    def _from_data_url(self, url: str, param: str) -> Encoded:
        data = data_url.read(url, most_bytes=self._limits.picture_bytes, param=param)
        return _named(data, param)

    async def _beside(
        self, size: int, work: Callable[[Any, str], Encoded], about: str | bytes, param: str
    ) -> Encoded:
        """Work that takes long for a large file, without holding up the event loop."""
        if size <= _SHORT:
            return work(about, param)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, about, param)


def _named(data: bytes, param: str) -> Encoded:
    if not data:
        raise Refused("image_invalid", param=param)
    return Encoded(data, digest_of(data))
