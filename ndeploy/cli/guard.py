"""From whatever may happen inside a command to one message and one exit code.

0  yes            1  a valid no            2  bad usage or bad input            3  a board cannot be reached
70 internal error (ND799)                  130 interrupted                      143 terminated
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ndeploy.cli.console import ReaderLeftError
from ndeploy.errors import NdeployError, RefusedError
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.ir.diagnostic import Diagnostic

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
INTERNAL = 70
"""sysexits.h EX_SOFTWARE: kept apart from the contract's 0 to 3, so that a defect is never read as an answer."""

_debug = os.environ.get("NDEPLOY_DEBUG", "") not in ("", "0")


def set_debug(on: bool) -> None:
    """Show tracebacks of internal errors (`--debug`)."""
    global _debug
    _debug = _debug or on


def guarded(command: Callable[[], Any]) -> NoReturn:
    """Run a command and exit with its code; no exception leaves this function but SystemExit."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command()
        code = 0
    except SystemExit as leaving:  # what typer ends with
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if code == INTERRUPTED:
            say("interrupted; nothing was left half-written")
    except KeyboardInterrupt:
        say("interrupted; nothing was left half-written")
        code = INTERRUPTED
    except ReaderLeftError:  # nobody is there to be told, and nothing is wrong
        _discard(sys.stdout)
        code = 0
    except NdeployError as error:
        show_error(error)
        if _debug:
            _traceback()
        code = error.exit_code
    except MemoryError as error:
        refusal = _too_large(error)
        show_error(refusal)
        code = refusal.exit_code
    except Exception as error:
        code = _internal(error)
    sys.exit(code)


def _too_large(error: MemoryError) -> NdeployError:
    return RefusedError(
        "ND707",
        f"this machine's memory does not suffice: {error or 'nothing more is known'}",
        help="run fewer samples at once (--batch, --limit), without --trace, or compile for fewer steps",
    )


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # an exception, so that every `finally` and `with` on the way out cleans up
    raise SystemExit(TERMINATED)


def _internal(error: Exception) -> int:
    text = printable(str(error).split("\n")[0][:300])
    say(f"error[ND799]: internal error: {type(error).__name__}: {text}")
    if _debug:
        _traceback()
    else:
        say("help: this is a defect of ndeploy; run again with --debug before the command and report what it prints")
    return INTERNAL


def _traceback() -> None:
    import traceback

    traceback.print_exc(file=sys.stderr)


def show_error(error: NdeployError) -> None:
    """`error[NDxxx]: ...` and `help: ...` on stderr, coloured on a terminal."""
    _coloured("error", "31", error.code, error.message, error.help)


def show_diagnostic(diagnostic: Diagnostic) -> None:
    """`warning[NDxxx]: ...` on stderr."""
    _coloured("warning", "33", diagnostic.code, diagnostic.message, diagnostic.help)


def _coloured(kind: str, colour: str, code: str, message: str, remedy: str) -> None:
    on = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    start, cyan, end = (f"\x1b[1;{colour}m", "\x1b[36m", "\x1b[0m") if on else ("", "", "")
    say(f"{start}{kind}[{code}]{end}: {printable(message)}")
    if remedy:
        say(f"{cyan}help{end}: {printable(remedy)}")


def say(line: str) -> None:
    """A line on stderr."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _discard(sys.stderr)


def _discard(stream: Any) -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush at exit finds no broken pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
