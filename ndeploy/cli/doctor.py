"""`ndeploy doctor`: what is present, what is missing, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ndeploy.cli import console, options


def doctor_command(json: options.Json = False) -> None:
    """Check this machine. Exit code 0 if the core works, even where something optional is missing."""
    from ndeploy import __version__, doctor

    found = []
    with console.progress("checking") as progress:
        for check in doctor.checks():
            progress(check.name)
            found.append(check)
    works = doctor.works(found)
    if json:
        console.emit("doctor", {"version": __version__, "works": works, "checks": [asdict(check) for check in found]})
    else:
        from ndeploy.report.doctor import report

        console.show(*report(found, works))
    if not works:
        raise typer.Exit(1)
