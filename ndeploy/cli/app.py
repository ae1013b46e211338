"""The application: its commands and the options that stand before them."""

from __future__ import annotations

from typing import Annotated

import typer

from ndeploy import __version__
from ndeploy.cli import guard
from ndeploy.cli.board import board_app
from ndeploy.cli.compare import compare_command
from ndeploy.cli.compile import compile_command
from ndeploy.cli.doctor import doctor_command
from ndeploy.cli.energy import energy_command
from ndeploy.cli.explain import explain_command
from ndeploy.cli.inspect import inspect_command
from ndeploy.cli.quantize import quantize_command
from ndeploy.cli.run import run_command
from ndeploy.cli.sweep import sweep_command
from ndeploy.cli.targets import targets_app
from ndeploy.cli.test import suite_command
from ndeploy.cli.validate import validate_command
from ndeploy.cli.verify import verify_command

app = typer.Typer(
    name="ndeploy",
    help="Compile trained spiking networks to integer programs for neuromorphic chips, and prove that they agree.",
    epilog="Exit codes: 0 yes; 1 a valid no; 2 bad usage or input; 3 a board cannot be reached.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("compile")(compile_command)
app.command("quantize")(quantize_command)
app.command("run")(run_command)
app.command("verify")(verify_command)
app.command("compare")(compare_command)
app.command("energy")(energy_command)
app.command("sweep")(sweep_command)
app.command("test")(suite_command)
app.command("inspect")(inspect_command)
app.add_typer(board_app)
app.add_typer(targets_app)
app.command("validate")(validate_command)
app.command("explain")(explain_command)
app.command("doctor")(doctor_command)


def _version(asked: bool) -> None:
    if asked:
        print(f"ndeploy {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also NDEPLOY_DEBUG=1).")] = False,
) -> None:
    """Compile trained spiking networks to integer programs for neuromorphic chips, and prove that they agree."""
    guard.set_debug(debug)
