"""The one exception tree.

Every error that may reach a user is an `NdeployError`: a stable code from `ndeploy.codes`, a message that names the
node, the value and the limit, and the remedy. The class decides the exit code of the command line:

    NdeployError
    |- UsageError        exit 2   bad options, bad input file, bad data
    |- RefusedError      exit 1   a valid no: unsupported, does not fit, out of range
    |- MismatchError     exit 1   two executions that must agree do not
    |- RunnerError       exit 1   a runner failed while it ran (worker died, time limit)
    `- UnreachableError  exit 3   a board or worker that cannot be reached at all
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ndeploy.codes import CODES


class NdeployError(Exception):
    """Base of all errors shown to users.

    `code` is a key of `ndeploy.codes.CODES`; `help` is the remedy, one sentence.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, *, help: str) -> None:
        if code not in CODES:
            raise KeyError(f"error code {code} is not in ndeploy.codes")
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help

    def __reduce__(self) -> tuple[Any, ...]:
        # an error crosses from a worker process as it was raised
        return partial(type(self), help=self.help), (self.code, self.message)

    def __str__(self) -> str:
        return f"error[{self.code}]: {self.message}\nhelp: {self.help}"


class UsageError(NdeployError):
    """Bad options, a bad input file or bad data."""

    exit_code = 2


class RefusedError(NdeployError):
    """A valid no: the network or program cannot be built as asked."""

    exit_code = 1


class MismatchError(NdeployError):
    """Two executions that must agree bit for bit do not."""

    exit_code = 1


class RunnerError(NdeployError):
    """A runner failed while it ran."""

    exit_code = 1


class UnreachableError(NdeployError):
    """A board or worker that cannot be reached."""

    exit_code = 3
