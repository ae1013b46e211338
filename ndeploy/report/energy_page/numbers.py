"""Quantities as text: three significant digits with an SI prefix, intervals in one unit."""

from __future__ import annotations

import math

from ndeploy.energy.ranges import Range

PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
NOTHING = "\N{EN DASH}"
WIDEST = 1000.0
"""High over low from which the ends of an interval have their own prefixes."""


def quantity(value: float | None, unit: str = "") -> str:
    """0.00105 and "J" -> "1.05 mJ"; 1234567 -> "1.23 M"; a dash for None and what is no number.

    Without a unit there are no prefixes below one: 0.012 events are "0.012".
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return f"0 {unit}".strip()
    exponent = _exponent(value, unit)
    return f"{_digits(value / 10**exponent)} {PREFIXES[exponent]}{unit}".strip()


def interval(found: Range | None, unit: str = "") -> str:
    """ "0.41 to 2.3 mJ", "900 nJ to 2.3 mJ"; one number where three digits tell no difference."""
    if found is None or not (math.isfinite(found.low) and math.isfinite(found.high)):
        return NOTHING
    if found.low == found.high:
        return quantity(found.low, unit)
    if found.low <= 0 or found.high > WIDEST * found.low:
        return f"{quantity(found.low, unit)} to {quantity(found.high, unit)}"
    exponent = _exponent(found.nominal if found.nominal > 0 else found.high, unit)
    low, high = (_digits(end / 10**exponent) for end in (found.low, found.high))
    if low == high:
        return quantity(found.low, unit)
    return f"{low} to {high} {PREFIXES[exponent]}{unit}".strip()


def full(found: Range | None, unit: str = "") -> str:
    """ "1.05 mJ (0.41 to 2.3 mJ)"."""
    if found is None:
        return NOTHING
    nominal, ends = quantity(found.nominal, unit), interval(found, unit)
    return nominal if nominal == ends else f"{nominal} ({ends})"


def share(part: float, whole: float) -> str:
    """A part as a percentage: "12.3 %", "100 %", "< 0.1 %"; a dash where there is no whole."""
    if not (math.isfinite(part) and math.isfinite(whole)) or whole <= 0:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


def times(ratio: float) -> str:
    """ "3.1 times"; large ones without digits after the point."""
    return f"{_digits(ratio, 2)} times"


def _exponent(value: float, unit: str) -> int:
    """Of the prefix, after rounding: 999.9 is "1 k"."""
    rounded = int(f"{abs(value):.2e}".partition("e")[2])
    least = -15 if unit else 0
    return min(max(3 * (rounded // 3), least), 15)


def _digits(value: float, digits: int = 3) -> str:
    """Significant digits without an exponent where a reader can do without one."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    if not 1e-3 <= abs(rounded) < 1e6:
        return f"{rounded:.{digits}g}"
    text = f"{rounded:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
