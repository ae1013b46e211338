"""The JSON that `ndeploy sweep --json` or `ndeploy quantize --frontier --json` wrote, read as a stranger's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndeploy.errors import UsageError

MOST_BYTES = 1 << 26
"""More than any sweep writes (512 rows), less than would exhaust a machine unseen."""
SCHEMAS = ("ndeploy.sweep/1", "ndeploy.quantize/1")


def load(path: Path) -> Mapping[str, Any]:
    """The object in the file. Raises UsageError ND101 where there is no such file, ND435 where it is no such JSON."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe has no size to be judged by
            raise _unusable(path, "no ordinary file")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _unusable(path, f"{size} bytes, more than {MOST_BYTES}")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError("ND101", f"{path}: {error.strerror}", help="check the path") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "not JSON") from error
    if not isinstance(found, dict) or found.get("schema") not in SCHEMAS:
        schema = found.get("schema") if isinstance(found, dict) else None
        raise _unusable(path, f"schema {schema!r} where one of {', '.join(SCHEMAS)} is needed")
    return found


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError(
        "ND435",
        f"{path}: {why}",
        help="give what `ndeploy sweep --json` or `ndeploy quantize --frontier --json` printed",
    )
