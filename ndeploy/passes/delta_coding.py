"""Sigma-delta coding of what registers hold."""

from __future__ import annotations

from ndeploy.errors import RefusedError
from ndeploy.ir.lowered import Lowered


def delta_coded(lowered: Lowered) -> Lowered:
    """Not yet."""
    raise RefusedError("ND201", "sigma-delta coding is not built yet", help="use --coding none")
