"""What can execute a Program: the simulator, the oracle, a board, and whatever the targets bring (Lava)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult


def _quiet(message: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class RunnerOptions:
    """What a runner may be told; each takes what it understands.

    lava_python: another interpreter for the Lava worker; lava_mode: "native" (Lava's own processes wherever they exist)
    or "fused" (a partition in one process model); time_limit: seconds after which a run is stopped; threads: of the
    simulator, None for all cores; activity: also answer `Activity`, which a runner that cannot leaves None; progress:
    called with a line now and then; board: address of the board of the runner "board", None for NDEPLOY_BOARD's;
    answer_limit: seconds within which a board must answer each request, None for what its client grants.
    """

    lava_python: str | None = None
    lava_mode: str = "native"
    time_limit: float | None = None
    threads: int | None = None
    activity: bool = False
    progress: Callable[[str], None] = _quiet
    board: str | None = None
    answer_limit: float | None = None


@dataclass(frozen=True)
class Executed:
    """A part of a program and what computes it in a runner. native: the runner's platform's own model; reason: why
    not, or under which condition."""

    name: str
    by: str
    native: bool
    reason: str


class Runner(Protocol):
    """Executes a program on messages, int64 (samples, steps, *shape) by input population."""

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult: ...


@runtime_checkable
class Describes(Protocol):
    """A runner that can say what computes each part of a program."""

    def describe(self, program: Program, options: RunnerOptions) -> tuple[Executed, ...]: ...


@runtime_checkable
class Opens(Protocol):
    """A runner that holds something between calls (a lease, a connection) and gives it back when told."""

    def opened(self, options: RunnerOptions) -> AbstractContextManager[Runner]: ...


@runtime_checkable
class DrivesChip(Protocol):
    """A runner whose program lies in a chip's memory, which this process cannot read back. drives: the chip."""

    drives: str


def opened(runner: Runner, options: RunnerOptions) -> AbstractContextManager[Runner]:
    """The runner for several calls, as a context manager; itself where it holds nothing between calls."""
    return runner.opened(options) if isinstance(runner, Opens) else nullcontext(runner)


def boards(text: str) -> tuple[str, ...]:
    """The addresses of boards in a text that separates them by commas, as NDEPLOY_BOARD may."""
    return tuple(word for part in re.split(r",(?=\s*(?:tcp://|exec:))", text) if (word := part.strip()))


class _Board:
    """A board at the address that the options or NDEPLOY_BOARD name: docs/board.md."""

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        with self.opened(options) as board:
            return board(program, messages, trace=trace, options=options)

    @contextmanager
    def opened(self, options: RunnerOptions) -> Iterator[Runner]:
        """Raises UsageError ND669 where several boards are named, and what `board.runner.from_options` and
        `suite.lock.held` raise."""
        from ndeploy.board.link import Command, address
        from ndeploy.board.runner import BOARD, TOKEN, BoardRunner, Patience, from_options
        from ndeploy.suite import lock

        named = options.board or os.environ.get(BOARD, "")
        several = boards(named)
        if len(several) > 1:
            raise UsageError(
                "ND669",
                f"{len(several)} boards are named, and one is used here: {', '.join(several)[:200]}",
                help="give one with --board; `ndeploy test` alone uses several",
            )
        patience = Patience()
        if options.answer_limit is not None:
            patience = Patience(request=options.answer_limit, retries=1)
        with contextlib.ExitStack() as stack:
            where = address(several[0]) if several else None
            if isinstance(where, Command):
                stack.enter_context(lock.held(where.words, patience.wait, options.progress))
            given = options.answer_limit is not None and bool(several)
            board = BoardRunner(several[0], os.environ.get(TOKEN, ""), patience) if given else from_options(options)
            yield stack.enter_context(board)


def _simulator(program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions) -> RunResult:
    from ndeploy import sim

    return sim.run(program, dict(messages), trace=trace, threads=options.threads, activity=options.activity)


def _oracle(program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions) -> RunResult:
    from ndeploy import oracle

    return oracle.run(program, dict(messages), activity=options.activity)


BUILT_IN: Mapping[str, Runner] = {"sim": _simulator, "oracle": _oracle, "board": _Board()}


def find(name: str) -> Runner:
    """The runner of that name. Raises UsageError ND601 with the names there are; ND703 if a plugin is broken."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    from ndeploy import plugins

    known = plugins.runners()
    if name not in known:
        names = ", ".join(sorted({*BUILT_IN, *known}))
        raise UsageError("ND601", f"there is no runner '{name}'", help=f"choose one of {names}")
    return known[name]
