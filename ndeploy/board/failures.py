"""What a failed request means to a user: every way in which a board fails, as one of ndeploy's errors."""

from __future__ import annotations

import os
import time

from ndeploy.board.link import Command, Tcp
from ndeploy.board.protocol import AnswerError, FrameError, WireError
from ndeploy.codes import CODES
from ndeploy.errors import NdeployError, RefusedError, RunnerError, UnreachableError, UsageError

TOKEN = "NDEPLOY_BOARD_TOKEN"
"""The environment variable. The token has no option: it would stand in the list of processes."""


def unreachable(where: Tcp | Command, error: Exception) -> NdeployError:
    """No connection came about."""
    if isinstance(error, AnswerError):
        return said(error)
    if isinstance(error, FrameError):
        return broken(error)
    named = " ".join(where.words) if isinstance(where, Command) else f"{where.host}:{where.port}"
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UnreachableError(
        "ND620",
        f"no board answers at {named}: {why}",
        help="check the address, and that `ndeploy board serve` or the command runs there",
    )


def left(deadline: float | None, otherwise: float) -> float:
    """Seconds left of a time limit, at most `otherwise`. Raises RunnerError ND690 when there are none."""
    if deadline is None:
        return otherwise
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise out_of_time()
    return min(seconds, otherwise)


def out_of_time() -> RunnerError:
    """The time limit passed."""
    return RunnerError(
        "ND690", "the time limit passed while the board worked", help="raise --time-limit, or run fewer samples"
    )


def silent(error: WireError) -> UnreachableError:
    """It stopped answering."""
    return UnreachableError(
        "ND624",
        f"the board stopped answering: {error}",
        help="look at the board's server; nothing is said of the model",
    )


def broken(error: Exception) -> UnreachableError:
    """What it said is not of the protocol."""
    return UnreachableError(
        "ND625",
        f"the board broke the protocol: {error}",
        help="check that the address is a board's and that both sides have the same version of ndeploy",
    )


def said(error: AnswerError) -> NdeployError:
    """An error frame as an error of ours."""
    again = "try again later, or use another board"
    if error.kind == "auth":
        told = f"{TOKEN} holds another" if os.environ.get(TOKEN) else f"{TOKEN} is not set here"
        return UsageError(
            "ND622",
            f"the board and we do not have the same token: {error.message}",
            help=f"set {TOKEN} to the token that the board's server was started with; {told}",
        )
    if error.kind == "busy":
        return UnreachableError("ND623", f"the board is busy: {error.message}", help=again)
    if error.kind in ("lease", "closing"):
        return UnreachableError("ND628", f"the board took the lease back: {error.message}", help=again)
    if error.kind == "fault":
        return UnreachableError("ND630", f"the board reports a fault: {error.message}", help=again)
    if error.kind == "limit":
        return RefusedError("ND633", f"too much for the board: {error.message}", help="send fewer samples at once")
    if error.kind == "model":
        kinds: dict[int, type[NdeployError]] = {2: UsageError, 3: UnreachableError}
        code = error.code if error.code in CODES else "ND629"
        told = error.help or "see the board's log"
        return kinds.get(error.exit_code, RefusedError)(code, f"the board's runner: {error.message}", help=told)
    return UnreachableError("ND625", f"the board does not understand us: {error.message}", help="compare the versions")
