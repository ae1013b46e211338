"""What compiling an artifact's own network gives today: the reference that tells a mistake from rounding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndeploy.artifact import Artifact, sha256_of
from ndeploy.errors import NdeployError, UsageError
from ndeploy.ir.program import Program

if TYPE_CHECKING:
    from ndeploy.quantizer import Quantised

METHOD_SETTINGS = ("input_bits", "input_scale", "input_signed", "rounding", "calibration")
"""Settings (`--set`) that a quantisation method reads; those that shape the network are in the network that is kept."""
CHOICES = {"attention": ("parallel", "streamed", "embedded"), "mode": ("auto", "pipelined", "fall-through")}
LARGEST = 1 << 30
"""Bytes of a file that is looked at for the calibration data."""


@dataclass(frozen=True, eq=False)
class Today:
    """program: None where it cannot be told, `why` says so. samples: the calibration data used, "" for none."""

    program: Program | None
    why: str = ""
    samples: str = ""


def compiled_today(
    loaded: Artifact, folders: Iterable[Path], calibration: Path | None, progress: Callable[[str], None]
) -> Today:
    """Compile the network that the artifact keeps with the options it records, up to the integers; nothing is placed.

    folders: where the calibration data are looked for, by name and digest, if `calibration` is None. Programs whose
    widths were searched for, and those that were trained, are not made again: that takes minutes. Raises UsageError
    ND654 where `calibration` is given and is not the file that the artifact records.
    """
    why = _why_not(loaded)
    if why:
        return Today(None, why)
    found = _calibration(loaded.meta.get("calibration"), folders, calibration)
    if found is None:
        name = _recorded(loaded.meta["calibration"])[0]
        return Today(None, f"it was compiled with calibration data '{name}': give them as --calibration")
    progress("compiling the artifact's network again")
    try:
        program = _compiled(loaded, found if found.name else None, progress)
    except (NdeployError, TypeError, ValueError, KeyError) as error:
        # options come from the artifact, which may hold anything
        said = error.message if isinstance(error, NdeployError) else "the options it records are damaged"
        return Today(None, f"its network does not compile: {said}")
    return Today(program, samples=found.name)


def _why_not(loaded: Artifact) -> str:
    """Why the artifact's network cannot be compiled again here, "" where it can."""
    options = loaded.meta.get("options")
    if loaded.network is None or not isinstance(options, Mapping) or not isinstance(loaded.meta.get("target"), str):
        return "the artifact does not say how it was compiled"
    if loaded.meta.get("finetune") is not None:
        return "its weights were trained (--finetune), which is not done again here"
    if loaded.meta.get("quantisation") is not None or options.get("budget"):
        return "its widths were searched for, which is not done again here"
    return ""


def _recorded(entry: Any) -> tuple[str, str]:
    """Name and digest of a file that an artifact records; empty where it says nothing that can be believed."""
    if not isinstance(entry, Mapping):
        return "", ""
    return Path(str(entry.get("name", ""))).name, str(entry.get("sha256", ""))


def _calibration(entry: Any, folders: Iterable[Path], given: Path | None) -> Path | None:
    """The data that the artifact was calibrated with; Path("") where it used none; None where they are not found."""
    name, digest = _recorded(entry)
    if given is not None:
        if not given.is_file() or sha256_of(given) != digest:
            raise UsageError(
                "ND654",
                f"'{given}' is not the calibration data of the artifact"
                + (f", '{name}' of sha256 {digest[:12]}" if digest else ", which used none"),
                help="give the file that `ndeploy compile --calibration` had, or leave it out",
            )
        return given
    if entry is None:
        return Path("")
    for folder in folders:
        path = folder / name
        if name and path.is_file() and path.stat().st_size <= LARGEST and sha256_of(path) == digest:
            return path
    return None


def _compiled(loaded: Artifact, calibration: Path | None, progress: Callable[[str], None]) -> Program:
    from ndeploy import plugins
    from ndeploy.passes.delta_threshold import with_threshold
    from ndeploy.pipeline import CompileOptions, quantisation_request

    assert loaded.network is not None
    kept, meta = loaded.meta["options"], loaded.meta
    coding = str(kept.get("coding") or "none")
    threshold = meta["coding"]["threshold"] if coding != "none" else 0.0
    asked = CompileOptions(
        target=meta["target"],
        steps=loaded.program.steps,
        bits=int(kept.get("bits", 8)),
        method=str(kept.get("method", "uniform")),
        settings=_settings(meta.get("settings")),
        attention=_choice(kept, "attention"),
        mode=_choice(kept, "mode"),
        calibration=calibration,
        coding=coding,
        activation_bits=None if kept.get("activation_bits") is None else int(kept["activation_bits"]),
    )
    with tempfile.TemporaryDirectory(prefix="ndeploy-") as folder:
        path = Path(folder) / f"{Path(loaded.program.name).name or 'model'}.nir"
        path.write_bytes(loaded.network)
        request, _ = quantisation_request(path, asked, progress)
    request = replace(request, name=loaded.program.name)
    quantize = plugins.methods()[asked.method].quantize
    if coding == "none":
        made: Quantised = quantize(request, progress)
        return made.program
    return with_threshold(request, quantize, repr(float(threshold)), 0.0, progress)[0].program


def _choice(kept: Mapping[str, Any], name: str) -> str:
    value = str(kept.get(name) or CHOICES[name][0])
    if value not in CHOICES[name]:
        raise ValueError(name)
    return value


def _settings(recorded: Any) -> dict[str, str]:
    if not isinstance(recorded, Mapping):
        return {}
    given = {key: entry for key, entry in recorded.items() if key in METHOD_SETTINGS and isinstance(entry, Mapping)}
    return {key: str(entry.get("value")) for key, entry in given.items() if entry.get("from") == "--set"}
