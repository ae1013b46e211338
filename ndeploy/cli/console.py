"""stdout for results, stderr for everything else."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


class ReaderLeftError(Exception):
    """Whoever read stdout has closed it, as in `ndeploy inspect model.ndp | head`."""


def emit(schema: str, fields: Mapping[str, Any]) -> None:
    """One JSON object on stdout. schema: "compile", "run", ...; becomes "ndeploy.compile/1"."""
    _write(json.dumps({"schema": f"ndeploy.{schema}/1", **fields}, indent=2, allow_nan=False) + "\n")


def show(*renderables: RenderableType) -> None:
    """Text, tables and panels on stdout."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    with console.capture() as text:
        for renderable in renderables:
            console.print(renderable)
    _write(text.get())


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderLeftError from error


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner with a line that changes, on stderr; nothing where stderr is no terminal.

    Yields the function to call with each new line. The spinner is gone when the block ends, however it ends.
    """
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status(what, spinner="dots") as status:
        yield lambda line: status.update(f"{what} [dim]{escape(line)}[/dim]")
