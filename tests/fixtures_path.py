"""Where the trained networks and golden traces that we did not write are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def fixture(name: str) -> Path:
    """The path of shared fixture `name`; the test is skipped, by name, where it is absent."""
    base = Path(os.environ.get("NDEPLOY_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    path = base / name
    if not path.exists():
        pytest.skip(f"fixture '{name}' is not here (set NDEPLOY_FIXTURES)")
    return path
