"""`ndeploy targets`: the chips there are, and every number known of one."""

from __future__ import annotations

from typing import Annotated

import typer

from ndeploy.cli import console, options

targets_app = typer.Typer(name="targets", help="List targets, or show one with the source of every number.")


def _complete(incomplete: str) -> list[str]:
    from ndeploy import plugins

    return [name for name in plugins.targets() if name.startswith(incomplete)]


@targets_app.callback(invoke_without_command=True)
def list_command(context: typer.Context, json: options.Json = False) -> None:
    """List the targets."""
    if context.invoked_subcommand is not None:
        return
    from ndeploy import plugins

    known = plugins.targets()
    if json:
        rows = [
            {"name": t.name, "title": t.title, "placed": t.placed, "cores_per_chip": t.cores_per_chip.value}
            for t in known.values()
        ]
        console.emit("targets", {"targets": rows})
        return
    from ndeploy.report import style

    table = style.grid("", "target", "title", ">cores a chip")
    for t in known.values():
        table.add_row(t.name, t.title, "-" if t.cores_per_chip.value is None else str(t.cores_per_chip.value))
    console.show(table, "[dim]`ndeploy targets show NAME` gives every limit and price with its source[/dim]")


@targets_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A target's name.", autocompletion=_complete)], json: options.Json = False
) -> None:
    """Show a target: limits, features and prices, each with its source."""
    from ndeploy import plugins, target

    described = target.describe(plugins.target(name))
    if json:
        console.emit("target", described)
        return
    from ndeploy.report.target import report

    console.show(*report(described))
