"""Where cases find what they run on: a lane's bench lends the runners, and of boards the lane's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ndeploy import runners
from ndeploy.runners import Runner, RunnerOptions

BOARDS = ("board",)
"""Runners that are hardware, or stand for it: what they fail at is not the model's fault, and one case at a time uses
them."""


@dataclass(frozen=True)
class Bench:
    """Hands out runners. options: what every runner is told."""

    options: RunnerOptions = field(default_factory=RunnerOptions)

    @contextmanager
    def lend(
        self, name: str, time_limit: float | None, threads: int | None = None
    ) -> Iterator[tuple[Runner, RunnerOptions]]:
        """A runner and its options, until the block ends; a board is leased meanwhile, once for all calls.

        Raises UsageError ND601 for a name that nobody has, and what leasing raises.
        """
        runner = runners.find(name)
        given = self.options if time_limit is None else replace(self.options, time_limit=time_limit)
        told = replace(given, threads=threads)
        with runners.opened(runner, told) as held:
            yield held, told
