"""`ndeploy explain`: what a code means."""

from __future__ import annotations

from typing import Annotated

import typer

from ndeploy.cli import console, options
from ndeploy.codes import CODES
from ndeploy.errors import UsageError


def _complete(incomplete: str) -> list[tuple[str, str]]:
    return [(code, entry.title) for code, entry in CODES.items() if code.startswith(incomplete.upper())]


def explain_command(
    code: Annotated[
        str | None, typer.Argument(help="A code such as ND203; without one, all are listed.", autocompletion=_complete)
    ] = None,
    json: options.Json = False,
) -> None:
    """Explain an error or warning code."""
    if code is None:
        chosen = dict(CODES)
    else:
        key = code.upper().removeprefix("ERROR[").removeprefix("WARNING[").removesuffix("]")
        if key not in CODES:
            import difflib

            near = difflib.get_close_matches(key, CODES, n=3)
            hint = f"did you mean {', '.join(near)}? " if near else ""
            raise UsageError("ND706", f"there is no code '{code}'", help=f"{hint}`ndeploy explain` lists all codes")
        chosen = {key: CODES[key]}
    if json:
        entries = [{"code": name, "title": entry.title, "text": entry.text} for name, entry in chosen.items()]
        console.emit("explain", {"codes": entries})
        return
    if code is None:
        from ndeploy.report import style

        table = style.grid("", "code", "title")
        for name, entry in chosen.items():
            table.add_row(name, entry.title)
        console.show(table)
        return
    for name, entry in chosen.items():
        console.show(f"[bold]{name}[/bold] {entry.title}", "", entry.text)
