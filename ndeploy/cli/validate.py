"""`ndeploy validate`: published measurements, recomputed, with the error of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndeploy.cli import console, options

Fixtures = Annotated[
    Path | None,
    typer.Option(envvar="NDEPLOY_FIXTURES", help="Folder of the trained networks that were measured.", file_okay=False),
]
Only = Annotated[str | None, typer.Option(metavar="NAME", help="One workload, as pilotnet-lif, or one of its figures.")]


def validate_command(
    fixtures: Fixtures = None,
    only: Only = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/validation.md shows it.")] = False,
    json: options.Json = False,
) -> None:
    """Recompute published measurements and show the error of each, bad ones too."""
    from ndeploy.validation import text
    from ndeploy.validation.networks import shipped
    from ndeploy.validation.run import validate

    if json and markdown:
        raise typer.BadParameter("ask for one of --json and --markdown", param_hint="--markdown")
    with console.progress("validating") as progress:
        rows = validate(fixtures or shipped(), only, progress)
    if json:
        console.emit("validate", {"verdict": text.verdict(rows), "rows": [row.to_json() for row in rows]})
    elif markdown:
        print(text.markdown(rows), end="")
    else:
        console.show(*text.report(rows))
