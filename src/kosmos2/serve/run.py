"""A server as a process: listening, draining when told to stop, and the exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from kosmos2.errors import ConfigError
from kosmos2.grounder import Kosmos2
from kosmos2.serve import memory
from kosmos2.serve.app import create_app, load
from kosmos2.serve.crowd import Crowd, TurnedAway
from kosmos2.serve.desk import Desk
from kosmos2.serve.doorstep import Doorstep
from kosmos2.serve.engines import Apart, Making, can_be_apart, slots_of, threads_for
from kosmos2.serve.failures import Refused
from kosmos2.serve.protocol import protocol
from kosmos2.serve.settings import Settings

log = logging.getLogger(__name__)

DONE, OURS, STOPPED = 0, 70, 75  # as in sysexits.h
AT_ONCE_S = 1.5  # for an end that was asked for twice
CLOSE_S = 5  # for clients to read the last of their answers
LAST_WORDS_S = 1.0  # for the news that the engine is dead
BACKLOG = 2048
KEEP_ALIVE_S = 10


def serve(
    settings: Settings,
    *,
    model: Kosmos2 | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> int:
    """Serve until told to stop; returns the exit code.

    SIGTERM or Ctrl-C: nothing new is taken, what is under way finishes, within `drain_s`. A second
    one stops at once. 0 if everything was answered, 75 if something was cut off, 70 if the engine
    died.

    Args:
        settings: where, and for whom.
        model: one that is loaded already.
        on_ready: called with the address once requests are taken.

    Raises:
        ConfigError: an address that cannot be listened on.
        CheckpointError: no such model.
    """
    with _listening(settings) as listener:
        memory.prepare()
        model = load(settings) if model is None else model
        app = create_app(settings, model=model, engine=_engine(settings, model, listener))
        gc.collect()
        gc.freeze()  # all this stays, and to look through it again would stop everybody for 0.2 s
        desk: Desk = app.state.desk
        crowd = Crowd(desk)
        config = uvicorn.Config(
            app,
            http=protocol(header_s=settings.limits.header_s, turn_away=crowd),
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,  # whoever starts the process decides what becomes of logs
            access_log=False,  # `watch.py` writes it
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=CLOSE_S,
        )
        process = _Process(config, desk, crowd)
        listener.guard(process.turned_away, process.crowd_about, process.let_in)
        try:
            return asyncio.run(process.run(listener, on_ready))
        finally:
            process.ended()


class _Process(uvicorn.Server):
    """uvicorn, but it drains before it stops listening, so that it can say so."""

    def __init__(self, config: uvicorn.Config, desk: Desk, crowd: Crowd) -> None:
        super().__init__(config)
        self._desk = desk
        self._crowd = crowd
        self._code = DONE
        self._stopping: asyncio.Task[None] | None = None
        self._last: threading.Timer | None = None

    async def run(  # type: ignore[override]  # uvicorn's own starts a loop
        self, listener: socket.socket, on_ready: Callable[[str], None]
    ) -> int:
        """Serve on a socket; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        if self._desk.keys is not None and hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self._desk.keys.reload)
        self._desk.answering.on_dead = self._engine_died
        tidying = loop.create_task(memory.give_back())
        serving = loop.create_task(self.serve(sockets=[listener]))
        while not (self.started or serving.done()):
            await asyncio.sleep(0.01)
        if self.started and not self.should_exit:
            on_ready(_url(listener))
        await serving
        tidying.cancel()
        if self._code != DONE:
            self._end_soon()
        return self._code if self.started else OURS

    def turned_away(self, packet: bytes, who: object) -> TurnedAway | None:
        """What is said to a newcomer who sends this first."""
        return self._crowd(packet, self.server_state.default_headers, newcomer=who)

    def crowd_about(self) -> bool:
        """Whether anybody might be turned away."""
        return self._desk.admission.crowd_about

    async def let_in(self, line: socket.socket) -> None:
        """Make a connection, as uvicorn does of those that it takes itself."""
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            ),
            line,
        )

    def ended(self) -> None:
        """It has come to its end by itself."""
        if self._last is not None:
            self._last.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are taken by `run`."""
        yield

    def _told_to_stop(self) -> None:
        if self._stopping is None:
            log.info("told to stop: what is under way is finished, nothing new is taken")
            drain_s = self._desk.limits.drain_s
            self._stopping = asyncio.get_running_loop().create_task(self._drain(drain_s))
            return
        log.warning("told to stop again: what is under way is cut off")
        self._cut_off()
        self._end_soon()

    def _engine_died(self) -> None:
        self._code = OURS
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._drain(LAST_WORDS_S))

    async def _drain(self, within_s: float) -> None:
        self._desk.admission.drain()
        try:
            async with asyncio.timeout(within_s):
                await self._desk.admission.idle()
        except TimeoutError:
            log.warning("not everything was finished in %g s", within_s)
            self._cut_off()
        if self._code == OURS:
            await asyncio.sleep(LAST_WORDS_S)  # a supervisor may want to see it in /health/live
        self.should_exit = True

    def _end_soon(self) -> None:
        """Whatever a thread is at, nobody waits for it; the decoders of pictures end with us."""
        if self._last is None:
            self._last = threading.Timer(AT_ONCE_S, os._exit, (self._code,))
            self._last.daemon = True
            self._last.start()

    def _cut_off(self) -> None:
        if self._code == DONE:
            self._code = STOPPED
        self._desk.answering.fail(Refused("draining"))
        self.should_exit = self.force_exit = True


def _engine(settings: Settings, model: Kosmos2, listener: socket.socket) -> Making | None:
    """An engine in a process of its own, where that can be."""
    if not can_be_apart(model):
        return None
    try:
        return Apart(
            model,
            slots=slots_of(settings.limits.running),
            threads=settings.threads or threads_for(model.config.text),
            leave=[listener.fileno()],
        )
    except OSError as error:  # a system that promises no page twice
        log.warning("the engine gets no process of its own: %s", error.strerror)
        return None


@contextmanager
def _listening(settings: Settings) -> Iterator[Doorstep]:
    """A socket that listens where the settings say."""
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = Doorstep(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, settings.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {settings.host}, port {settings.port}: "
                f"{error.strerror or error}; choose another --host or --port"
            ) from error
        yield listener
    finally:
        with suppress(OSError):
            listener.close()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
