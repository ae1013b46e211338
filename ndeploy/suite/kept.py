"""Measurements of a suite that was cut off: kept in a journal (`ndeploy.search.journal`) until it ends."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndeploy.suite.baseline import FIELDS, known
from ndeploy.suite.case import Case
from ndeploy.suite.inject import KINDS
from ndeploy.suite.measure import Context, digests, toolchain
from ndeploy.suite.measured import Curve, Measured
from ndeploy.suite.schedule import Settled


def key(context: Context) -> str:
    """What every measurement depends on: versions, and the very files of the toolchain, which is what is tested."""
    import ndeploy
    from ndeploy.plugins import GROUPS

    told = hashlib.sha256(repr((sorted(toolchain().items()), context.injection, context.timed)).encode())
    groups = [importlib.import_module(group).__path__ for group in GROUPS]
    folders = dict.fromkeys((Path(ndeploy.__file__).parent, *(Path(folder) for group in groups for folder in group)))
    for path in sorted(file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".toml")):
        state = path.stat()
        told.update(f"{path}:{state.st_size}:{state.st_mtime_ns}\n".encode())
    return told.hexdigest()


def task(case: Case) -> str:
    """A case with digests of all that it reads. Raises OSError."""
    told = {"name": case.name, "runner": case.runner, "options": case.options_digest(), **digests(case)}
    return json.dumps(told, sort_keys=True)


def to_json(settled: Settled) -> dict[str, Any] | None:
    """All of a measurement, and where it was made, as plain data; None for a failure, which is tried again."""
    found = settled.found
    if not isinstance(found, Measured):
        return None
    curve = found.curve
    return {
        **found.to_json(),
        "board": settled.board,
        "moves": list(settled.moves),
        "alike": settled.alike,
        "timing": [list(pair) for pair in found.timing],
        "period": found.period,
        "mismatch": found.mismatch,
        "remarks": list(found.remarks),
        "retried": dict(found.retried),
        "curve": None
        if curve is None
        else [curve.kind, curve.seed, curve.samples, [[n, list(values)] for n, values in curve.points]],
    }


def from_json(case: Case, value: Mapping[str, Any] | None) -> Settled | None:
    """What `to_json` gave; None for nothing, and for anything else, which is then measured again."""
    if value is None:
        return None
    try:
        moves, alike = tuple(map(str, value["moves"])), value["alike"] is True
        return Settled(case, _measured(value), str(value["board"]), moves, alike)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _measured(value: Mapping[str, Any]) -> Measured:
    base = known({name: value[name] for name in FIELDS})
    timing = tuple((str(name), _whole(offset)) for name, offset in value["timing"])
    return Measured(
        base.identity,
        base.toolchain,
        base.numbers,
        base.trails,
        base.parts,
        base.costs,
        timing,
        _whole(value["period"]),
        str(value["mismatch"]),
        _curve(value["curve"]),
        tuple(map(str, value["remarks"])),
        {str(code): _whole(times) for code, times in value["retried"].items()},
    )


def _curve(value: Any) -> Curve | None:
    if value is None:
        return None
    kind, seed, samples, points = value
    if kind not in KINDS:
        raise ValueError(kind)
    found = tuple((_whole(n), tuple(float(v) for v in values)) for n, values in points)
    if not found or not all(0 <= v <= 1 for _, values in found for v in values) or not all(v for _, v in found):
        raise ValueError("a curve without points, or beyond 100 %")
    return Curve(kind, _whole(seed), _whole(samples), found)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("no whole number")
    return value
