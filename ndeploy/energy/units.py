"""Quantities as people write them, "23.6 pJ", "3.5 ns", "104 mW", as floats in SI units."""

from __future__ import annotations

import math
import re

PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}
BASES = ("J", "s", "W")
LONGEST = 64
"""Characters; a quantity is shorter."""

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*([^\s\d]*)\s*\Z", re.ASCII)


def quantity(text: object, base: str) -> float:
    """A text such as "23.6 pJ" in the unit `base`, one of `BASES`.

    Raises ValueError saying what is wrong: no text, no number, no unit or another one than `base`, an unknown prefix,
    a negative or infinite value. A bare number is refused: nobody can tell what it counts.
    """
    want = f'write a number and a unit, such as "23.6 {_EXAMPLES[base]}"'
    if not isinstance(text, str):
        raise ValueError(f"{str(text)[:LONGEST]!r} is no quantity; {want}")
    if len(text) > LONGEST:
        raise ValueError(f"a text of {len(text)} characters is no quantity; {want}")
    found = _QUANTITY.match(text)
    if found is None:
        raise ValueError(f"'{text}' is no quantity; {want}")
    number, unit = float(found[1]), found[2]
    if not unit:
        raise ValueError(f"'{text}' has no unit; {want}")
    if not unit.endswith(base) or unit[: -len(base)] not in PREFIXES:
        raise ValueError(f"'{text}': unit '{unit}' is none of {_known(base)}; {want}")
    value = number * PREFIXES[unit[: -len(base)]]
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not finite")
    if value < 0:
        raise ValueError(f"'{text}' is negative; an event costs nothing or something")
    return value


_EXAMPLES = {"J": "pJ", "s": "ns", "W": "mW"}


def _known(base: str) -> str:
    return ", ".join(f"{prefix}{base}" for prefix in PREFIXES if prefix not in "µμ" or not prefix)
