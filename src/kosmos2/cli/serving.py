"""`kosmos2 serve`, `kosmos2 demo`, `kosmos2 keys`: the model for others, over HTTP."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2.cli.arguments import Commands, UsageError, command, model_options, whole
from kosmos2.cli.loading import load
from kosmos2.cli.output import note, show
from kosmos2.errors import ConfigError

if TYPE_CHECKING:
    from kosmos2.serve import Settings

HOST, PORT = "127.0.0.1", 8000


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = command(
        commands, "serve", _serve, "answer over HTTP, as an OpenAI-compatible server does",
        epilog="SIGTERM or Ctrl-C finishes what is under way; a second one stops at once.",
    )  # fmt: skip
    model_options(parser)
    group = parser.add_argument_group("server")
    group.add_argument("--host", default=HOST, metavar="ADDRESS", help="(%(default)s)")
    group.add_argument(
        "--port", type=whole(0), default=PORT, metavar="N", help="0 takes a free one (%(default)s)"
    )
    who = group.add_mutually_exclusive_group()
    who.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="who may ask; made by kosmos2 keys new"
    )
    who.add_argument(
        "--no-auth", action="store_true", help="everybody on this machine may ask, without a key"
    )
    group.add_argument(
        "--fetch-host", action="append", default=[], metavar="HOST",
        help="pictures may be fetched from it by https; can be given again (nowhere)",
    )  # fmt: skip
    group.add_argument(
        "--threads", type=whole(1), metavar="N",
        help="for the network's products (one for a small model, else as many as there are cores)",
    )  # fmt: skip
    group = parser.add_argument_group("limits")
    for name, what in (
        ("running", "requests answered side by side"),
        ("queued", "requests that wait for their turn; one more is told to come again"),
    ):
        group.add_argument(f"--{name}", type=whole(0), metavar="N", help=what)
    for name, what in (
        ("deadline", "for a whole answer"),
        ("drain", "for what is under way when the server is told to stop"),
    ):
        group.add_argument(f"--{name}", type=float, metavar="SECONDS", dest=f"{name}_s", help=what)

    parser = command(commands, "demo", _demo, "open a page to draw on and ask, on this machine")
    model_options(parser)
    parser.add_argument("--port", type=whole(0), default=0, metavar="N", help="(a free one)")
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=True, help="a browser (yes)"
    )

    parser = command(
        commands, "keys", _keys, "make a key that lets somebody ask a server",
        epilog="kosmos2 keys new ANNA >> keys.txt shows the key once and keeps only its digest.",
    )  # fmt: skip
    parser.add_argument("action", choices=("new",))
    parser.add_argument("name", metavar="NAME", help="whose it is; stands in the log")
    for name, metavar, what in (
        ("rate", "N", "requests a minute"),
        ("concurrent", "N", "requests at the same time"),
    ):
        parser.add_argument(f"--{name}", type=whole(1), metavar=metavar, help=f"most {what}")


def _serve(arguments: Namespace) -> int:
    _needed()
    if arguments.api_key_file is None and not arguments.no_auth:
        raise UsageError(
            "say who may ask: --api-key-file FILE (kosmos2 keys new NAME >> FILE makes one), or "
            "--no-auth for everybody on this machine"
        )

    def ready(url: str) -> None:
        note(f"kosmos2 serves {arguments.model} on {url}")

    return _run(arguments, ready)


def _demo(arguments: Namespace) -> int:
    _needed()
    vars(arguments).update(host=HOST, api_key_file=None, no_auth=True, fetch_host=[], threads=None)

    def ready(url: str) -> None:
        note(f"kosmos2 serves {arguments.model} on {url}")
        note("Ctrl-C ends it")
        if arguments.open:
            import webbrowser

            # Elsewhere: a browser in a terminal returns when it is closed.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    return _run(arguments, ready)


def _keys(arguments: Namespace) -> int:
    _needed()
    from kosmos2.serve.keys import line_for, new_key

    key = new_key()
    line = line_for(arguments.name, key)
    if arguments.rate is not None:
        line += f" rate={arguments.rate}/min"
    if arguments.concurrent is not None:
        line += f" concurrent={arguments.concurrent}"
    show(line)
    note(f"the key of {arguments.name}, shown this once: {key}")
    return 0


def _run(arguments: Namespace, on_ready: Callable[[str], None]) -> int:
    from kosmos2.serve import memory
    from kosmos2.serve.run import serve

    settings = _settings(arguments)  # what cannot be is said before a model is loaded
    if not arguments.debug:
        logging.basicConfig(
            stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        logging.getLogger("kosmos2").setLevel(logging.INFO)
    logging.raiseExceptions = False  # a log that cannot be written stops nobody's answer
    memory.prepare()
    return serve(settings, model=load(arguments), on_ready=on_ready)


def _settings(arguments: Namespace) -> Settings:
    from kosmos2.serve.settings import Limits, Settings

    names = ("running", "queued", "deadline_s", "drain_s")
    given = {name: getattr(arguments, name, None) for name in names}
    return Settings(
        model=arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
        adapter=arguments.adapter,
        revision=arguments.revision,
        offline=arguments.offline,
        host=arguments.host,
        port=arguments.port,
        key_file=arguments.api_key_file,
        open=arguments.no_auth,
        fetch_hosts=tuple(arguments.fetch_host),
        threads=arguments.threads,
        limits=Limits(**{name: value for name, value in given.items() if value is not None}),
    )


def _needed() -> None:
    """Refuse where the server's libraries are not installed.

    Raises:
        ConfigError: they are not; it says how to get them.
    """
    try:
        import fastapi
        import prometheus_client
        import uvicorn
    except ImportError as error:
        raise ConfigError(
            f"the server needs {error.name}, which is not installed; "
            "pip install 'kosmos2[serve]' brings it"
        ) from error
    del fastapi, prometheus_client, uvicorn
