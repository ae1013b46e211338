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
from ndeploy.cli.budgets import CHOOSING_NOTHING
from ndeploy.errors import NdeployError
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.budget import Search
    from ndeploy.ir.diagnostic import Diagnostic

EPOCHS = 10
"""Of fine-tuning, where none are given."""
BUDGET = "ND306"
"""A budget that nothing meets: the same command would be refused again, but measurements serve any budget."""
UNUSABLE = ("ND710", "ND711")
"""The journal is another kind of file, or another process's: nothing of this command is in it."""


def search(method: str, training: bool, seed: int, workers: str, asked: Path | None, journal: Path) -> Search:
    """How to search and to train. A usage error (exit 2) for workers or a journal (`asked`) that nothing would use.

    Raises what `workers.pool` raises, and UsageError ND702 for a journal that cannot be written: before anything is
    measured, not when the search starts.
    """
    from ndeploy import atomic
    from ndeploy.budget import Search
    from ndeploy.search.workers import pool

    if method in CHOOSING_NOTHING:
        if workers != "1":
            raise typer.BadParameter("is for a search: give a budget", param_hint="--workers")
        if asked is not None and not training:
            raise typer.BadParameter("is for a search or for --finetune", param_hint="--journal")
        if not training:
            return Search(seed=seed)
    elif workers != "1":
        pool(workers, None).close()
    if asked is not None:
        atomic.check_writable(asked)
    return Search(seed, workers, str(journal))


@contextlib.contextmanager
def keeping(journal: str | None) -> Iterator[None]:
    """Where the search or the training ends otherwise than well, say what is kept and how to go on; else nothing is."""
    if journal is None:
        yield
        return
    search, training = Path(journal), Path(f"{journal}.training")
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, NdeployError) else ""
        again = "the same command with another budget" if code == BUDGET else "the same command"
        kept = (
            (search, "what was measured", _measured(search)),
            (training, "where training stands", training.is_file()),
        )
        for path, what, anything in kept:
            if anything and code not in UNUSABLE:
                guard.say(printable(f"{what} is kept in {path}: {again} goes on from there"))
        raise
    with contextlib.suppress(OSError):  # one that stays does no harm: the next training sets it aside
        training.unlink(missing_ok=True)


def _measured(journal: Path) -> bool:
    """Whether a search's journal holds more than its first line, which says of what search it is."""
    try:
        with journal.open("rb") as file:
            file.readline()
            return bool(file.read(1))
    except OSError:
        return False


def check_finetune(data: Path | None, epochs: int | None, rate: float | None) -> None:
    """A usage error (exit 2) for options of training without data to train on, and for a rate that is none."""
    if data is None:
        for option, value in (("--epochs", epochs), ("--rate", rate)):
            if value is not None:
                raise typer.BadParameter("needs --finetune DATA.npz", param_hint=option)
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise typer.BadParameter(f"{rate} is no learning rate: give a number above 0", param_hint="--rate")


def without_labels(path: Path) -> tuple[Diagnostic, ...]:
    """A warning where data to train on have no labels. Raises what `data.load` raises."""
    from ndeploy.data import load
    from ndeploy.ir.diagnostic import Diagnostic

    if load(path).y is not None:
        return ()
    message = f"'{path}' has no labels y: training imitates the answers of the float network"
    return (Diagnostic("ND507", message, "write it with numpy.savez(path, x=samples, y=labels) if there are labels"),)
