"""Suite files: TOML that a stranger may have written. The format is in docs/testing.md."""

from __future__ import annotations

import difflib
import importlib
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ndeploy.errors import UsageError
from ndeploy.suite.case import Budgets, Case, Suite, Tolerances

# tomllib is of Python 3.11; tomli is the same parser for 3.10
tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

SCHEMA = "ndeploy.suite/1"
MOST_BYTES = 1 << 20
MOST_CASES = 4096
MOST_TEXT = 4096
FILES = ("model", "artifact", "data", "calibration")
COUNTS = {"steps": 1 << 20, "bits": 16, "activation_bits": 16, "limit": 1 << 40, "batch": 1 << 20, "traced": 1 << 16}
"""Whole numbers from 1 to these."""
CHOICES = {
    "attention": ("parallel", "streamed", "embedded"),
    "mode": ("auto", "pipelined", "fall-through"),
    "coding": ("none", "sigma-delta"),
    "place": ("cores", "traffic", "latency", "layers"),
}
FACTORS = ("compile_time", "speed")
"""Tolerances that multiply: at least 1."""
DEFAULT = Path("examples") / "suite.toml"
"""Where a checkout of the repository keeps its own suite."""

T = TypeVar("T", Tolerances, Budgets)


def default_suite() -> Path:
    """The suite of the trained networks in the repository. Raises UsageError ND662 where there is no checkout."""
    import ndeploy

    path = Path(ndeploy.__file__).resolve().parent.parent / DEFAULT
    if not path.is_file():
        raise UsageError(
            "ND662",
            f"the networks of the repository are not here: there is no '{path}'",
            help="give your own cases with --suite FILE.toml, or work in a checkout of the repository",
        )
    return path


def load(path: Path) -> Suite:
    """Read a suite; paths in it are relative to its folder.

    Raises UsageError ND101 where it or a file that it names is missing, ND660 for anything that is not as described.
    """
    if not path.is_file():
        raise UsageError("ND101", f"suite '{path}' does not exist", help="give --suite the path of a .toml file")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _bad(path, f"it has more than {MOST_BYTES} bytes")
        tree = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(path, f"it is no TOML: {str(error)[:200] or type(error).__name__}") from error
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror or error}") from error
    return _suite(path, tree)


def _suite(path: Path, tree: Mapping[str, Any]) -> Suite:
    _known(path, "the file", tree, ("schema", "baseline", "defaults", "case"))
    if tree.get("schema") != SCHEMA:
        raise _bad(path, f'it does not begin with schema = "{SCHEMA}"')
    entries = tree.get("case", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise _bad(path, "it has no [[case]]")
    if len(entries) > MOST_CASES:
        raise _bad(path, f"it has {len(entries)} cases, at most {MOST_CASES}")
    common = tree.get("defaults", {})
    if not isinstance(common, dict):
        raise _bad(path, "defaults is no table")
    for name in ("name", *FILES):
        if name in common:
            raise _bad(path, f"[defaults] holds {name}, which belongs to a case")
    cases = tuple(_case(path, _merged(path, common, entry), i) for i, entry in enumerate(entries, 1))
    names = [case.name for case in cases]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise _bad(path, f"two cases are named '{double[0]}'")
    for case in cases:
        for name in FILES:
            file = getattr(case, name)
            if file is not None and not file.is_file():
                raise UsageError(
                    "ND101",
                    f"'{path}': {name} of case '{case.name}' is '{file}', which does not exist",
                    help="paths are relative to the suite's folder; leave the case out where it cannot run",
                )
    given = tree.get("baseline")
    if given is None:
        return Suite(path, path.with_suffix(".baseline.json"), cases)
    return Suite(path, path.parent / _text(path, "baseline", given), cases)


def _merged(path: Path, common: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """A case's table over the defaults; tables within are merged key by key."""
    merged = {**common, **entry}
    for name in ("settings", "tolerances", "budgets"):
        parts = [table[name] for table in (common, entry) if name in table]
        if not all(isinstance(part, dict) for part in parts):
            raise _bad(path, f"{name} is no table")
        merged[name] = {key: value for part in parts for key, value in part.items()}
    return merged


def _case(path: Path, table: Mapping[str, Any], number: int) -> Case:
    where = f"case {number}"
    name = _text(path, f"{where}: name", table.get("name"))
    if not name.isprintable() or len(name) > 200:
        raise _bad(path, f"{where}: a name has up to 200 printable characters")
    where = f"case '{name}'"
    _known(path, where, table, tuple(field.name for field in fields(Case)))
    found: dict[str, Any] = {"name": name}
    for key, value in table.items():
        if key in FILES:
            found[key] = path.parent / _text(path, f"{where}: {key}", value)
        elif key in COUNTS:
            found[key] = _count(path, f"{where}: {key}", value, COUNTS[key])
        elif key in CHOICES:
            if value not in CHOICES[key]:
                raise _bad(path, f"{where}: {key} is one of {', '.join(CHOICES[key])}")
            found[key] = value
        elif key in ("runner", "target", "method"):
            found[key] = _text(path, f"{where}: {key}", value)
    if "data" not in found:
        raise _bad(path, f"{where} has no data")
    if ("model" in found) == ("artifact" in found):
        raise _bad(path, f"{where} needs a model or an artifact, one of the two")
    exact = table.get("exact", True)
    if not isinstance(exact, bool):
        raise _bad(path, f"{where}: exact is true or false")
    if "time_limit" in table:
        found["time_limit"] = _number(path, f"{where}: time_limit", table["time_limit"])
        if found["time_limit"] <= 0:
            raise _bad(path, f"{where}: time_limit is in seconds, above 0")
    settings = {}
    for key, value in table["settings"].items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _bad(path, f"{where}: settings.{key[:80]} is a text or a number")
        settings[key] = str(value)
    tolerances = _numbers(path, where, "tolerances", table["tolerances"], Tolerances())
    budgets = _numbers(path, where, "budgets", table["budgets"], Budgets())
    return Case(**found, exact=exact, settings=settings, tolerances=tolerances, budgets=budgets)


def _numbers(path: Path, where: str, name: str, table: Mapping[str, Any], base: T) -> T:
    """`base` with the numbers of the table."""
    _known(path, f"{where}: {name}", table, tuple(field.name for field in fields(base)))
    found = {key: _number(path, f"{where}: {name}.{key}", value) for key, value in table.items()}
    for key, value in found.items():
        least = 1.0 if key in FACTORS else 0.0
        if value < least:
            raise _bad(path, f"{where}: {name}.{key} is {value:g}, at least {least:g}")
    return replace(base, **found)


def _known(path: Path, where: str, table: Mapping[str, Any], names: tuple[str, ...]) -> None:
    strange = sorted(set(table) - set(names))
    if strange:
        near = difflib.get_close_matches(strange[0][:80], names, n=1)
        meant = f"did you mean '{near[0]}'? " if near else ""
        raise _bad(path, f"{where} has '{strange[0][:80]}'; {meant}known are {', '.join(names)}")


def _text(path: Path, where: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > MOST_TEXT or "\0" in value:
        raise _bad(path, f"{where} is no text of 1 to {MOST_TEXT} characters")
    return value


def _count(path: Path, where: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _bad(path, f"{where} is no whole number from 1 to {most}")
    return value


def _number(path: Path, where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(path, f"{where} is no finite number")
    return float(value)


def _bad(path: Path, why: str) -> UsageError:
    return UsageError("ND660", f"suite '{path}': {why}", help="docs/testing.md describes the format, with an example")
