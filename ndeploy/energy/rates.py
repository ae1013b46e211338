"""How often neurons send, for objectives of a placement that weigh messages."""

from __future__ import annotations

from collections.abc import Callable

from ndeploy.data import Data
from ndeploy.energy.measure import Options, counted
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity

BY_RATES = ("traffic", "latency")
"""Objectives that weigh messages."""
SAMPLES = 64
"""Samples on which rates are measured."""


def rates(
    program: Program, data: Data | None, objective: str, progress: Callable[[str], None]
) -> tuple[Activity | None, tuple[Diagnostic, ...]]:
    """What the program sends on the data, None where the objective does not ask; a remark where there are no data."""
    if objective not in BY_RATES:
        return None, ()
    if data is None:
        even = "without calibration data every neuron is taken to send equally often"
        asked = f"placed for {objective} by rates that nobody measured: {even}"
        return None, (Diagnostic("ND417", asked, "give --calibration DATA.npz"),)
    return counted(program, data.spread(SAMPLES), Options(progress=progress))[2], ()
