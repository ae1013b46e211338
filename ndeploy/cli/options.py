"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
Data = Annotated[Path, typer.Option("--data", help="Samples: .npz with x, and perhaps y and x_scale.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N samples.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Samples that run at once.")]
Artifact = Annotated[Path, typer.Argument(help="A compiled model, as written by `ndeploy compile`.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="What the file leaves open: source, dt, reset, ... (repeatable)"),
]
LavaPython = Annotated[str | None, typer.Option("--lava-python", help="Another interpreter that has Lava.")]
LavaMode = Annotated[
    str, typer.Option("--lava-mode", help="native: Lava's own processes where they exist; fused: one process model.")
]
Board = Annotated[
    str | None,
    typer.Option(
        "--board", metavar="URL", help="tcp://HOST:PORT or exec:COMMAND, for --runner board; or NDEPLOY_BOARD."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the simulator; default: all cores.")]
TimeLimit = Annotated[float | None, typer.Option("--time-limit", min=0.001, help="Seconds after which to give up.")]


def choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """The value if it is allowed; else a usage error (exit 2) that lists what is."""
    if value not in allowed:
        raise typer.BadParameter(f"'{value}' is not one of {', '.join(allowed)}", param_hint=option)
    return value


def settings(pairs: list[str] | None) -> dict[str, str]:
    """--set key=value pairs as a dict. A usage error (exit 2) for a pair without '=', an empty or repeated key."""
    read: dict[str, str] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise typer.BadParameter(f"'{pair}' is not of the form key=value", param_hint="--set")
        if key.strip() in read:
            raise typer.BadParameter(f"'{key.strip()}' is given twice", param_hint="--set")
        read[key.strip()] = value.strip()
    return read


def file_of(prices: str | None) -> Path | None:
    """The file that a NAME|FILE of prices names, None for a name (as `ndeploy.energy.tables.find` tells them apart)."""
    return Path(prices) if prices and (prices.endswith(".toml") or "/" in prices) else None


def apart(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """A usage error (exit 2) where an output would overwrite an input or another output."""
    taken = {path.resolve(): name for name, path in inputs.items() if path is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise typer.BadParameter(f"'{path}' is {taken[path.resolve()]} already", param_hint=name)
        taken[path.resolve()] = name
