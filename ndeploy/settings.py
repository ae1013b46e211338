"""Settings: what `--set key=value` says, what a preset or the file adds, and where each value came from.

Order of precedence: --set, then the preset named by `source`, then the file, then the documented default. Every value
that is read is recorded with its origin, so that an artifact shows what was chosen and by whom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ndeploy.errors import UsageError
from ndeploy.ir import network as ir
from ndeploy.presets import PRESETS

Kind = type[int] | type[float] | type[bool] | type[str] | tuple[str, ...]
"""What a value must be: a number, a truth value, a text, or one of several words."""

REQUIRED: Any = object()
"""The default of a setting that has none: leaving it open is an error."""

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

_SEMANTICS: Mapping[str, Kind] = {
    "dt": float,
    "integrator": ir.INTEGRATORS,
    "reset": ir.RESETS,
    "compare": ir.COMPARES,
    "recurrent_delay": int,
    "synapse_first": bool,
    "synapse_gain": ir.SYNAPSE_GAINS,
    "membrane_gain": ir.MEMBRANE_GAINS,
    "if_gain": ("ode", "unit"),
}


class Settings:
    """Values given with --set, read by converters through `get`.

    given: by key, texts or values. `record` holds {"value": ..., "from": ...} of everything read so far, in order.
    Raises UsageError ND205 if `source` names no preset.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._given = dict(given or {})
        self._read: set[str] = set()
        self._record: dict[str, dict[str, Any]] = {}
        self.source: str | None = None
        if "source" in self._given:
            self.source = self.get("source", tuple(PRESETS))

    @classmethod
    def parse(cls, items: Iterable[str]) -> Settings:
        """From "key=value" texts; the last of a key counts. Raises UsageError ND205 for a text without a "="."""
        given: dict[str, str] = {}
        for item in items:
            key, equals, value = item.partition("=")
            if not equals or not key.strip():
                raise UsageError("ND205", f"'{item}' is no key=value pair", help="write --set key=value")
            given[key.strip()] = value.strip()
        return cls(given)

    @property
    def record(self) -> dict[str, dict[str, Any]]:
        """{"value": ..., "from": ...} by key, for every setting read so far."""
        return {key: dict(entry) for key, entry in self._record.items()}

    def get(self, key: str, kind: Kind, default: Any = REQUIRED, origin: str = "default") -> Any:
        """The value of a setting.

        default: what holds where neither --set nor the preset says anything, and `origin` where it comes from ("file",
        "args", "default"). Raises UsageError ND205 for a value of the wrong kind, ND204 where nothing gives a value.
        """
        self._read.add(key)
        if key in self._given:
            value, origin = _convert(key, self._given[key], kind), "--set"
        elif self.source is not None and key in PRESETS[self.source].values:
            value, origin = PRESETS[self.source].values[key], f"preset {self.source}"
        elif default is REQUIRED:
            raise UsageError(
                "ND204", f"'{key}' is not stated, and the file does not say it", help=f"give it: --set {key}=..."
            )
        else:
            value = default if default is None else _convert(key, default, kind)
        self._record[key] = {"value": value, "from": origin}
        return value

    def stated(self, key: str) -> bool:
        """Whether --set, or an option of the command line that stands for it, gives the key."""
        return key in self._given

    def unused(self) -> tuple[str, ...]:
        """Keys that were given and never read."""
        return tuple(key for key in self._given if key not in self._read)

    def semantics(
        self, stated: Mapping[str, Any] | None = None, origin: str = "file", fallback: ir.Semantics | None = None
    ) -> ir.Semantics:
        """How equations become steps, every field read and recorded.

        stated: fields the file states; origin: how to name the file in the record; fallback: the documented defaults
        where they differ from `Semantics()`.
        """
        stated = stated or {}
        fallback = fallback or ir.Semantics()
        values: dict[str, Any] = {}
        for key, kind in _SEMANTICS.items():
            if key in stated:
                values[key] = self.get(key, kind, stated[key], origin)
            else:
                values[key] = self.get(key, kind, getattr(fallback, key))
        if values["dt"] <= 0:
            raise UsageError(
                "ND205",
                f"dt is {values['dt']}; a time step is a positive number of seconds",
                help="give it in seconds, for example --set dt=1e-4",
            )
        if values["recurrent_delay"] < 1:
            raise UsageError(
                "ND205",
                f"recurrent_delay is {values['recurrent_delay']}; a loop takes at least one model step",
                help="give 1 or more",
            )
        return ir.Semantics(**values)


def _convert(key: str, value: Any, kind: Kind) -> Any:
    """The value as its kind. Raises UsageError ND205 that lists what is allowed."""
    if isinstance(kind, tuple):
        if value in kind:
            return value
        raise _bad(key, value, "one of " + ", ".join(kind))
    if kind is bool:
        text = str(value).lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise _bad(key, value, "true or false")
    if kind is str:
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _bad(key, value, "a number") from None
    if not math.isfinite(number):
        raise _bad(key, value, "a finite number")
    if kind is int:
        if number != int(number):
            raise _bad(key, value, "a whole number")
        return int(number)
    return number


def _bad(key: str, value: Any, allowed: str) -> UsageError:
    return UsageError("ND205", f"--set {key}={value}: must be {allowed}", help=f"allowed: {allowed}")
