"""`ndeploy targets`: the chips there are, and every number known of one."""

from __future__ import annotations

from typing import Annotated

import typer

from ndeploy.cli import console, options

targets_app = typer.Typer(name="targets", help="List targets, or show one with the source of every number.")


def _complete(incomplete: str) -> list[str]:
    from ndeploy import plugins

    return [name for name in plugins.targets() if name.startswith(incomplete)]


def _complete_prices(incomplete: str) -> list[str]:
    from ndeploy.energy import tables

    return [name for name in (tables.DEFAULT, *tables.names()) if name.startswith(incomplete)]


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


@targets_app.command("prices")
def prices_command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]", help="A price table, or a .toml file of your own.", autocompletion=_complete_prices
        ),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="Whose prices 'default' are.", autocompletion=_complete)
    ] = "loihi2",
    json: options.Json = False,
) -> None:
    """List the price tables, or check and show one, each price with its source."""
    from ndeploy import plugins
    from ndeploy.energy import tables
    from ndeploy.prices import describe

    chip = plugins.target(target)
    if model is not None:
        described = describe(tables.find(model, chip))
        if json:
            console.emit("price-table", described)
            return
        from ndeploy.report.target import prices

        console.show(*prices(described))
        return
    found = [tables.find(name, chip) for name in (tables.DEFAULT, *tables.names())]
    if json:
        console.emit("price-tables", {"tables": [describe(table) for table in found]})
        return
    from ndeploy.report import style

    grid = style.grid("", "table", "title", "targets", "scope", "statuses")
    for t in found:
        scopes, statuses = ({getattr(price, key) for price in t.energy} for key in ("scope", "status"))
        grid.add_row(t.name, t.title, ", ".join(t.targets), ", ".join(sorted(scopes)), ", ".join(sorted(statuses)))
    console.show(grid, "[dim]`ndeploy targets prices NAME` gives every constant with its source[/dim]")
