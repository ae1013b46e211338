"""What weights do not say: the options of a checkpoint family.

They come from --set, a sidecar file, the checkpoint's own args, or are constants of the public model class; each is
recorded with its origin.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ndeploy.errors import UsageError
from ndeploy.settings import REQUIRED, Kind, Settings

MAX_SIDECAR = 2**20
"""Bytes of a sidecar file."""


def read_sidecar(path: Path, other: str = "") -> Mapping[str, Any]:
    """The settings in MODEL.json beside the model: `net.pth.tar.json`, or `net.json`; empty without such a file.

    other: a file name that stands for it where neither is there.

    Raises UsageError ND126 if the file is no JSON object or larger than 1 MiB.
    """
    stem = path.name.split(".", 1)[0]
    names = (path.name + ".json", stem + ".json", other)
    for candidate in (path.with_name(name) for name in names if name):
        if candidate == path or not candidate.is_file():
            continue
        try:
            if candidate.stat().st_size > MAX_SIDECAR:
                raise ValueError("larger than 1 MiB")
            value = json.loads(candidate.read_bytes())
            if not isinstance(value, dict):
                raise ValueError("not an object")
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                "ND126",
                f"sidecar file '{candidate}': {error}",
                help='write one JSON object, for example {"steps": 4, "heads": 8}, or remove the file',
            ) from error
        return value
    return {}


class Options:
    """Reads one option after another; `settings.record` keeps what was read and where it came from."""

    def __init__(self, settings: Settings, sidecar: Mapping[str, Any], args: Mapping[str, Any]) -> None:
        self.settings = settings
        self._sources = (("sidecar", sidecar), ("args", args))

    def get(
        self, key: str, kind: Kind, names: Sequence[str] = (), default: Any = REQUIRED, origin: str = "family"
    ) -> Any:
        """The option `key`. names: what training scripts call it in args; a sidecar may use these or `key`.

        default: a constant of the public model class or a fact of the file, `origin` which of them. Raises UsageError
        ND204 where nothing gives a value, ND205 for a value of the wrong kind.
        """
        value, where = self.find(*names, sidecar_only=key)
        if where:
            return self.settings.get(key, kind, value, where)
        return self.settings.get(key, kind, default, origin)

    def find(self, *names: str, sidecar_only: str = "") -> tuple[Any, str]:
        """The first of the names that the sidecar or the args hold, and which of the two; (None, "") for none."""
        for where, values in self._sources:
            for name in (sidecar_only, *names) if where == "sidecar" else names:
                value = _single(values.get(name))
                if value is not None:
                    return value, where
        return None, ""

    def require(self, *keys: str) -> None:
        """Raises UsageError ND204 that names every key that nothing states: nobody meets them one by one."""
        missing = [key for key in keys if not self.settings.stated(key) and not self.find(key)[1]]
        if missing:
            raise UsageError(
                "ND204",
                f"{', '.join(map(repr, missing))} not stated, and the file does not say",
                help=f"give what the model was trained with: {' '.join(f'--set {key}=...' for key in missing)}",
            )

    def raw(self, *names: str) -> tuple[Any, str]:
        """As `find`, but lists are kept as they are."""
        for where, values in self._sources:
            for name in names:
                if values.get(name) is not None:
                    return values[name], where
        return None, ""

    def said(self, *names: str) -> Iterator[tuple[str, str, Any]]:
        """(origin, name, value) of everything that sidecar and args say under these names, None left out."""
        for where, values in self._sources:
            for name in names:
                if values.get(name) is not None:
                    yield where, name, values[name]


def _single(value: Any) -> Any:
    """Per-stage lists with one value in all stages count as that value; other lists as nothing."""
    if isinstance(value, list | tuple):
        return value[0] if value and all(v == value[0] for v in value) else None
    return value


def image_size(
    options: Options, known: tuple[int, int] | None = None, origin_of_known: str = "args"
) -> tuple[int, int]:
    """(height, width) of the input. known: what tells it where nobody states it. Raises UsageError ND204, ND205."""
    height, where = options.find("img_size_h", "height")
    width, _ = options.find("img_size_w", "width")
    default, origin = (f"{height}x{width}", where) if height and width else (REQUIRED, "args")
    if default is REQUIRED:
        value, where = options.find("img_size", "input_size", "size")
        if where:
            default, origin = value, where
        elif known is not None:
            default, origin = f"{known[0]}x{known[1]}", origin_of_known
    text = str(options.get("image_size", str, default=default, origin=origin))
    parts = text.lower().split("x")
    try:
        numbers = [int(float(part)) for part in parts]
    except (ValueError, OverflowError):
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1 or math.prod(numbers) > 2**26:
        raise UsageError(
            "ND205", f"image_size is '{text}'", help="write it as HEIGHTxWIDTH, for example --set image_size=32x32"
        )
    return numbers[0], numbers[-1]
