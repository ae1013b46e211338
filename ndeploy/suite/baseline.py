"""The baseline: what was measured, reviewed and committed. A JSON file that a stranger may have edited."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndeploy import atomic
from ndeploy.errors import UsageError
from ndeploy.suite import metered
from ndeploy.suite.measured import NUMBERS, Known, Measured
from ndeploy.suite.trails import Trail

SCHEMA = "ndeploy.suite-baseline/1"
MOST_BYTES = 1 << 28
MOST_ENTRIES = 1 << 20
FIELDS = ("identity", "toolchain", "numbers", "trails", "parts", "costs")


def load(path: Path) -> dict[str, Known]:
    """By case; empty where there is no file. Raises UsageError ND661 for a file that is not such a baseline."""
    return {name: _known(path, name, entry) for name, entry in _cases(path).items()}


def save(path: Path, found: Mapping[str, Measured], keep: frozenset[str]) -> None:
    """Write what was measured over what the file holds; of the others, only the cases named in `keep` stay.

    What a meter showed stays where the same program was run without one. The same measurements give the same bytes;
    where nothing was measured, nothing is written.
    Raises UsageError ND661 (what is there is no baseline), ND702.
    """
    old = _cases(path)
    if not found:
        return
    cases = {name: entry for name, entry in old.items() if name in keep}
    cases |= {name: _with_meter(measured.to_json(), old.get(name, {})) for name, measured in found.items()}
    text = json.dumps({"schema": SCHEMA, "cases": cases}, indent=1, sort_keys=True, allow_nan=False)
    atomic.write(path, (_LIST.sub(_one_line, text) + "\n").encode())


_LIST = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")
"""A list of plain values that `json.dumps` has written over several lines."""


def _one_line(found: re.Match[str]) -> str:
    """A hash a line would hide what a reviewer looks for."""
    return "[" + re.sub(r",\n\s+", ", ", found[1]) + "]"


def _with_meter(entry: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    if not metered.carried(entry, old):
        return entry
    kept = {name: old["numbers"][name] for name in metered.KEPT if name in old["numbers"]}
    numbers = {**entry["numbers"], **kept}
    return {**entry, "identity": {**entry["identity"], "meter": old["identity"]["meter"]}, "numbers": numbers}


def _cases(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise _bad(path, f"it is no file of at most {MOST_BYTES} bytes")
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"it is no JSON: {str(error)[:200]}") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA or not isinstance(tree.get("cases"), dict):
        raise _bad(path, f'it has no schema "{SCHEMA}" with cases')
    for name, entry in tree["cases"].items():
        _known(path, name, entry)
    cases: dict[str, Any] = tree["cases"]
    return cases


def known(entry: Any) -> Known:
    """A case's entry, checked. Raises ValueError, TypeError, KeyError, OverflowError."""
    if not isinstance(entry, dict) or set(entry) != set(FIELDS):
        raise ValueError(f"it does not have the fields {', '.join(FIELDS)}")
    return Known(
        identity=_texts(entry["identity"]),
        toolchain=_texts(entry["toolchain"]),
        numbers=_numbers(entry["numbers"]),
        trails={key: _trail(value) for key, value in _table(entry["trails"]).items()},
        parts={key: _texts(value) for key, value in _table(entry["parts"]).items()},
        costs={key: _pair(value) for key, value in _table(entry["costs"]).items()},
    )


def _known(path: Path, name: str, entry: Any) -> Known:
    try:
        return known(entry)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise _bad(path, f"case '{name[:80]}': {error}") from error


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise ValueError("a table is no object, or too large")
    return value


def _texts(value: Any) -> dict[str, str]:
    found = _table(value)
    if not all(isinstance(text, str) for text in found.values()):
        raise ValueError("a table holds something that is no text")
    return dict(found)


def _numbers(value: Any) -> dict[str, float | None]:
    found = _table(value)
    if not set(found) <= set(NUMBERS):
        raise ValueError("it holds a number that no check knows")
    return {key: None if number is None else _finite(number) for key, number in found.items()}


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number is not finite")
    return float(value)


def _pair(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a cost is no pair of numbers")
    return _finite(value[0]), _finite(value[1])


def _trail(value: Any) -> Trail:
    if not isinstance(value, dict) or set(value) != {"spikes", "steps", "samples"}:
        raise ValueError("a population's hashes are incomplete")
    lists = (value["steps"], value["samples"])
    if not all(isinstance(part, list) and len(part) <= MOST_ENTRIES for part in lists):
        raise ValueError("a population's hashes are no lists")
    if not all(isinstance(text, str) for text in (value["spikes"], *lists[0], *lists[1])):
        raise ValueError("a hash is no text")
    return Trail(value["spikes"], tuple(lists[0]), tuple(lists[1]))


def _bad(path: Path, why: str) -> UsageError:
    return UsageError(
        "ND661",
        f"baseline '{path}' cannot be used: {why}",
        help="restore it from version control, or remove it and write it anew with --update-baseline",
    )
