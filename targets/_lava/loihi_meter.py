"""Energy and time of a run on a Loihi, as Lava's profiler reads them from the board. Worker side."""

from __future__ import annotations

import math
import warnings
from typing import Any

METER = "lava.utils.profiler, energy probe"
SWITCH = "NDEPLOY_LOIHI_POWER"
"""Environment variable: "off" leaves the probe away (it is read from the board while the network runs)."""
MICROJOULE = 1e-6


class Meter:
    """The probe of one run. reason: why there is none, empty where there is one."""

    def __init__(self, configuration: Any, chip_steps: int, *, wanted: bool) -> None:
        self._profiler: Any = None
        self.reason = "" if wanted else f"switched off by {SWITCH}"
        if not wanted:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lava warns on import where there is no profiler; `reason` says so
            from lava.utils.profiler import Profiler
        try:
            profiler = Profiler.init(configuration)
            profiler.energy_probe(num_steps=chip_steps)
        except (NotImplementedError, ImportError, AttributeError) as error:
            self.reason = f"Lava has no energy probe for this board ({error})"
            return
        self._profiler = profiler

    def read(self) -> tuple[float, float] | None:
        """(J, s) of the run that has ended; None where there is no probe, or it shows no energy (`reason` says so).

        energy_breakdown()[0] is in uJ and power_breakdown()[0] in W: NECOTIS/TemporalLearningInRSNNs,
        loihi_experiment/delay.py, which takes the run's time as their quotient.
        """
        if self._profiler is None:
            return None
        energy = float(self._profiler.energy_breakdown()[0]) * MICROJOULE
        power = float(self._profiler.power_breakdown()[0])
        if not (math.isfinite(energy) and math.isfinite(power) and energy > 0 and power > 0):
            self.reason = f"the energy probe showed {energy:g} J at {power:g} W"
            return None
        return energy, energy / power
