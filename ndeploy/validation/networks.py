"""Where the networks that were measured are, if nobody says: in the repository's examples."""

from __future__ import annotations

from pathlib import Path


def shipped() -> Path | None:
    """The folder in the repository this package runs from; None where it was installed without it."""
    folder = Path(__file__).resolve().parents[2] / "examples"
    return folder if (folder / "netx").is_dir() else None
