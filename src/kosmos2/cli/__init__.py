"""The command line: the one room that prints.

Standard output carries answers and nothing else; what goes wrong, and how far long work has come,
goes to standard error. A command is imported and run only once its words are understood, so help
and usage errors never wait for a tensor library.

Exit codes are those of sysexits.h, as `kosmos2 --help` lists them; 4 is a loss that is no number,
and 141 says that nobody reads any more.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from kosmos2.cli.arguments import read
from kosmos2.cli.output import complain
from kosmos2.errors import Kosmos2Error

OURS, IN_OUT, STOPPED, UNREAD = 70, 74, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing that goes wrong leaves by another way."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name or word that the terminal cannot write
            stream.reconfigure(errors="backslashreplace")
    if debug:
        logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("kosmos2").setLevel(logging.DEBUG)
    try:
        arguments = read(words)
        code: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk or a closed pipe can still be reported
        return code
    except SystemExit as stop:  # how argparse ends after --help and --version
        return int(stop.code or 0)
    except BrokenPipeError:
        _stop_writing()
        return UNREAD
    except KeyboardInterrupt as stop:
        complain(str(stop) or "stopped")
        return STOPPED
    except Exception as error:  # noqa: BLE001  (the outermost door: people get one line, not a traceback)
        if debug:
            traceback.print_exc()
        code, message = _told(error)
        complain(message)
        return code


def _told(error: Exception) -> tuple[int, str]:
    """The exit code and the one line for an error."""
    if isinstance(error, Kosmos2Error):
        return error.exit_code, str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        place = f"{error.filename}: " if error.filename else ""
        return IN_OUT, f"{place}{reason}; check the place and the space left there"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OURS, "memory is used up; try --dtype bfloat16, fewer --beams, or another --device"
    kind = type(error).__name__
    return OURS, f"unexpected {kind}: {error}; run again with --debug, and report what it shows"


def _stop_writing() -> None:
    """Point standard output at nothing, so that Python's own last flush stays quiet."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
