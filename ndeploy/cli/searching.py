"""What every command that searches for widths does around the search: where it keeps what it measured, and on what it
trains."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ndeploy.cli import guard
from ndeploy.cli.budgets import UNIFORM
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.budget import Search

EPOCHS = 10
"""Of fine-tuning, where none are given."""


def search(method: str, auto_steps: bool, seed: int, workers: str, asked: Path | None, journal: Path) -> Search:
    """How to search. A usage error (exit 2) for workers or a journal (`asked`) that no search would use."""
    from ndeploy.budget import Search

    if method == UNIFORM and not auto_steps:
        for option, given in (("--workers", workers != "1"), ("--journal", asked is not None)):
            if given:
                raise typer.BadParameter("is for a search: give a budget", param_hint=option)
        return Search(seed=seed)
    return Search(seed, workers, str(journal))


@contextlib.contextmanager
def keeping(journal: str | None) -> Iterator[None]:
    """However the search ends: where there is a journal still, say that it was kept and how to go on."""
    try:
        yield
    except BaseException:
        if journal is not None and Path(journal).is_file():
            guard.say(printable(f"what was measured is kept in {journal}: the same command goes on from there"))
        raise


def check_finetune(data: Path | None, epochs: int | None, rate: float | None) -> None:
    """A usage error (exit 2) for options of training without data to train on, and for a rate that is none."""
    if data is None:
        for option, value in (("--epochs", epochs), ("--rate", rate)):
            if value is not None:
                raise typer.BadParameter("needs --finetune DATA.npz", param_hint=option)
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise typer.BadParameter(f"{rate} is no learning rate: give a number above 0", param_hint="--rate")


def require_labels(path: Path) -> None:
    """Raises UsageError ND507 where data to train on have no labels, and what `data.load` raises."""
    from ndeploy.data import load
    from ndeploy.errors import UsageError

    if load(path).y is None:
        raise UsageError(
            "ND507",
            f"'{path}' has no labels y to train on",
            help="write it with numpy.savez(path, x=samples, y=labels), one label or sequence of labels a sample",
        )
