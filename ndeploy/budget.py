"""What a deployment may cost: budgets a user gives, alone or together.

Bits of weights, bits of messages and model steps draw on one purse (Shen et al., "Is Conventional SNN Really
Efficient?", arXiv 2311.10802): BB = T x weight bits x spike bits, S-ACE = the sum of BB over all synapses, NS-ACE the
same weighted with firing rates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Budget:
    """None where nothing is asked. mean_bits: mean over trained weights (shared ones once). memory_bytes: synaptic
    memory as the target packs it, headers, alignment and constant synapses included. spike_bits: mean payload of graded
    messages. operations: S-ACE, bit operations a sample. energy_joules: a sample's nominal dynamic energy.
    accuracy_points: points that may be lost on calibration data against the float network; what it costs is then made
    as small as possible.
    """

    mean_bits: float | None = None
    memory_bytes: int | None = None
    spike_bits: float | None = None
    operations: float | None = None
    energy_joules: float | None = None
    accuracy_points: float | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return all(getattr(self, item.name) is None for item in fields(self))


@dataclass(frozen=True)
class Search:
    """How a search is done, never what it finds: seed of all that is random; workers: "1" (this process), a number of
    local processes, or the address of a dask scheduler (tcp://host:port); journal: the file that keeps what has been
    measured, so that an interrupted search goes on where it stopped, None to keep nothing."""

    seed: int = 0
    workers: str = "1"
    journal: str | None = None
