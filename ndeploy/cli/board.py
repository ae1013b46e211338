"""`ndeploy board`: put a runner on the network as a board, and ask a board how it is."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.board.desk import Terms
    from ndeploy.board.device import Device

MIB = 1 << 20
TOKEN_BYTES = 1024
WORDS = {"None": "none", "True": "yes", "False": "no"}
"""Of `board status`."""

board_app = typer.Typer(
    name="board",
    help="Lend a runner over the network, one client at a time, or ask a board how it is. Each command takes --json.",
    no_args_is_help=True,
)


@board_app.command("serve")
def serve_command(
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:5580",
    runner: Annotated[str, typer.Option("--runner", help="What executes: sim, oracle, lava, or a plugin's.")] = "sim",
    command: Annotated[
        str | None, typer.Option("--command", help="A command that speaks the protocol over stdin and stdout, instead.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Holds the token; default: NDEPLOY_BOARD_TOKEN.")
    ] = None,
    stdio: Annotated[bool, typer.Option("--stdio", help="Serve one client over stdin and stdout.")] = False,
    waiting: Annotated[int, typer.Option("--queue", min=0, max=1000, help="Clients that may wait.")] = 8,
    idle: Annotated[float, typer.Option("--idle", min=1, help="Seconds of silence that end a connection.")] = 60.0,
    longest: Annotated[
        float, typer.Option("--longest-lease", min=1, help="Seconds one client may keep the board while others wait.")
    ] = 3600.0,
    run_limit: Annotated[float, typer.Option("--run-limit", min=1, help="Seconds one request may take.")] = 600.0,
    artifact_limit: Annotated[int, typer.Option("--artifact-limit", min=1, max=1024, help="MiB of a program.")] = 1024,
    stream_limit: Annotated[int, typer.Option("--stream-limit", min=1, max=1024, help="MiB sent at once.")] = 256,
    inject: Annotated[
        str | None, typer.Option("--inject", help="Fail on purpose: KIND=PROBABILITY,...,seed=N (a test bench).")
    ] = None,
    meter: Annotated[
        str | None,
        typer.Option("--meter", metavar="TARGET", help="Show a modelled energy: a chip's estimate, no measurement."),
    ] = None,
    threads: options.Threads = None,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    json: options.Json = False,
) -> None:
    """Lend a runner to clients that know the token, until Ctrl-C or SIGTERM.

    What executes is a process of its own: one that hangs is ended and started anew.
    """
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    for option, given in (("--command", command is not None), ("--json", json)):
        if stdio and given:
            raise typer.BadParameter("does not go with --stdio", param_hint=option)
    for option, value in (("--inject", inject), ("--meter", meter)):
        if command is not None and value is not None:
            raise typer.BadParameter("is for the runners of ndeploy, not for --command", param_hint=option)
    if runner == "board":
        raise typer.BadParameter("a board cannot lend itself", param_hint="--runner")
    from ndeploy import runners
    from ndeploy.board.desk import Terms

    terms = Terms(
        idle=idle,
        longest=longest,
        run=run_limit,
        waiting=waiting,
        artifact_bytes=artifact_limit * MIB,
        stream_bytes=stream_limit * MIB,
    )
    if stdio:
        from ndeploy.board.server import serve_stdio

        told = runners.RunnerOptions(lava_python=lava_python, lava_mode=lava_mode, threads=threads)
        serve_stdio(_device(runner, inject, meter, told), terms)
        return
    host, port = _where(listen)
    token = _token(token_file)
    runners.find(runner)
    if command is not None:
        words = _words(command)
    else:
        words = _own(runner, inject, meter, threads, lava_python, lava_mode)
        words += ("--run-limit", str(run_limit + 60))  # the server's own limit comes first
        words += ("--artifact-limit", str(artifact_limit), "--stream-limit", str(stream_limit))
    _lend(words, host, port, token, terms, json)


@board_app.command("status")
def status_command(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="tcp://HOST:PORT; default: NDEPLOY_BOARD.")] = None,
    json: options.Json = False,
) -> None:
    """Ask a board what it is, who has it and how many wait. Needs its token; takes no lease."""
    from ndeploy.board.runner import BOARD, status
    from ndeploy.errors import UsageError
    from ndeploy.runners import RunnerOptions

    if not (url or os.environ.get(BOARD)):
        raise UsageError("ND621", "no board is named", help=f"ndeploy board status tcp://HOST:PORT, or set {BOARD}")
    found = status(RunnerOptions(board=url))
    if json:
        console.emit("board-status", found)
        return
    from ndeploy.report import style

    table = style.grid("", "board", "")
    for name, value in found.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else WORDS.get(str(value), str(value))
        table.add_row(name, printable(shown))
    console.show(table)


def _lend(words: tuple[str, ...], host: str, port: int, token: str, terms: Terms, json: bool) -> None:
    from ndeploy.board.link import Command
    from ndeploy.board.protocol import WireError
    from ndeploy.board.relay import Relay
    from ndeploy.board.server import Server
    from ndeploy.errors import UsageError

    try:
        device = Relay(Command(words))
    except (OSError, WireError) as error:
        raise UsageError(
            "ND631",
            f"the board's command '{words[0]}' does not start: {getattr(error, 'strerror', None) or error}",
            help="run it by itself: it must speak the protocol of docs/board.md over its stdin and stdout",
        ) from error
    terms = replace(
        terms,
        artifact_bytes=min(terms.artifact_bytes, device.artifact_bytes),
        stream_bytes=min(terms.stream_bytes, device.stream_bytes),
    )
    try:
        server = Server(device, host, port, token, terms, log=lambda line: guard.say(f"board: {line}"))
    except BaseException:
        device.close()
        raise
    with server:
        fields: dict[str, Any] = {"url": server.url, "runner": device.describe()["runner"]}
        if json:
            console.emit("board-serve", fields)
        else:
            console.show(f"lending {fields['runner']} at {server.url}; Ctrl-C ends it")
        server.serve_forever()


def _device(runner: str, inject: str | None, meter: str | None, told: Any) -> Device:
    """The board; one that is to lie about energy has a meter to do it with."""
    from ndeploy import plugins, runners
    from ndeploy.board.faults import FaultyBoard, plan
    from ndeploy.board.meter import DEFAULT, ModelMeter
    from ndeploy.board.software import SoftwareBoard

    planned = None if inject is None else plan(inject)
    if meter is None and planned is not None and planned.needs_meter:
        meter = DEFAULT
    modelled = None if meter is None else ModelMeter(plugins.target(meter))
    board = SoftwareBoard(runners.find(runner), runner, told, modelled)
    return board if planned is None else FaultyBoard(board, planned, die=lambda: os._exit(1))


def _own(
    runner: str, inject: str | None, meter: str | None, threads: int | None, lava_python: str | None, lava_mode: str
) -> tuple[str, ...]:
    """The command that is this program serving over stdin and stdout."""
    from ndeploy import plugins

    words = [sys.executable, "-m", "ndeploy", "board", "serve", "--stdio", "--runner", runner, "--lava-mode", lava_mode]
    if inject is not None:
        from ndeploy.board.faults import plan

        plan(inject)
        words += ["--inject", inject]
    if meter is not None:
        plugins.target(meter)
        words += ["--meter", meter]
    if threads is not None:
        words += ["--threads", str(threads)]
    if lava_python is not None:
        words += ["--lava-python", lava_python]
    return tuple(words)


def _words(command: str) -> tuple[str, ...]:
    from ndeploy.board.link import Command, address

    found = address(f"exec:{command}")
    return found.words if isinstance(found, Command) else ()


def _where(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"'{listen}' is not HOST:PORT", param_hint="--listen")
    return host.strip("[]"), int(port)


def _token(path: Path | None) -> str:
    """Of the file or the environment. Raises UsageError ND631 where the file cannot be read."""
    from ndeploy.board.runner import TOKEN
    from ndeploy.errors import UsageError

    if path is None:
        return os.environ.get(TOKEN, "")
    try:
        with path.open("rb") as file:
            return file.read(TOKEN_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "ND631", f"the token file '{path}' cannot be read", help="give a text file that holds the token alone"
        ) from error
