"""Lava's CPU processes: the arithmetic of the chip without its limits, and no cores to place anything on.

The runners are here: Lava on the CPU, and Lava on a Loihi.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult
from ndeploy.neurons import KINDS
from ndeploy.neurons.cuba_lif import RESETS
from ndeploy.runners import Executed, Runner, RunnerOptions
from ndeploy.target import FEATURES, CoreLimits, Limit, Packing, Support, Target, Widths

LAVA = "lava-nc 0.10.0, process models tagged fixed_pt"


def _none(unit: str) -> Limit:
    return Limit(None, unit, LAVA, "code", "numpy arrays: no limit")


TARGET = Target(
    name="lava",
    title="lava-nc 0.10.0 on the CPU: no chip limits",
    placed=False,
    core=CoreLimits(
        neurons=_none("neurons"),
        synaptic_memory=_none("bytes"),
        in_axons=_none("axons"),
        out_axons=_none("axons"),
        neuron_configurations=_none("configurations"),
        threshold_configurations=_none("configurations"),
        state_memory=_none("bytes"),
    ),
    widths=Widths(
        weight=Limit(None, "bits", LAVA, "code", "weights are int32; Dense drops bits beyond num_weight_bits"),
        weight_exponent_low=_none("exponent"),
        weight_exponent_high=_none("exponent"),
        delay=_none("chip steps"),
        decay=Limit(12, "bits", "lava-nc 0.10.0, lava/proc/lif/models.py", "code"),
        state=Limit(24, "bits", "lava-nc 0.10.0, lava/proc/lif/models.py", "code"),
        threshold_mantissa=_none("bits"),
        threshold_shift=_none("exponent"),
        bias_mantissa=_none("bits"),
        bias_exponent=_none("exponent"),
        refractory=_none("chip steps"),
        payload=_none("bits"),
    ),
    packing=Packing(
        allocation_unit=Limit(8, "bits", LAVA, "code", "whole bytes, as if weights were stored apart"),
        header=Limit(0, "bits", LAVA, "code"),
        block_synapses=_none("synapses"),
        tag=Limit(0, "bits", LAVA, "code"),
        weight_widths=(),
        index_widths=(),
        conv_weight_sharing=True,
        source=LAVA,
        status="code",
        note="there is no synaptic memory: bytes are those of the weights at their own width",
    ),
    cores_per_chip=_none("cores"),
    systems=(),
    neuron_kinds=Support(
        tuple(sorted(KINDS)), "targets/_lava: Lava's processes and, where it has none, our own", "code"
    ),
    resets=Support(RESETS, "targets/_lava: Lava's processes and, where it has none, our own", "code"),
    features=Support(FEATURES, "targets/_lava: Lava's processes and, where it has none, our own", "code"),
    notes=("an execution, not a chip: no cores, no energy, no chip time",),
)
"""An executor without chip limits."""


class LavaRunner:
    """Executes in lava-nc itself, in a worker process (targets/_lava)."""

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        """Run the program; raises what `ndeploy.targets._lava.runner.run` does."""
        from ndeploy.targets._lava.runner import run

        return run(program, messages, trace=trace, options=options)

    def describe(self, program: Program, options: RunnerOptions) -> tuple[Executed, ...]:
        """Which process computes each part, and why where it is not Lava's own; needs no Lava."""
        from ndeploy.targets._lava.plan import describe

        return tuple(Executed(a.name, a.process, a.native, a.reason) for a in describe(program, options.lava_mode))


class LoihiRunner:
    """Executes on a Loihi 2 through Lava's run configuration for it, in a worker process (targets/_lava/loihi_*).

    UNTESTED ON HARDWARE: the calls are those of published programs, tried against a stand-in for lava-loihi.
    docs/loihi.md says what was read where, and what to look at first on a board.
    """

    drives = "loihi2"

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        """Run the program once; raises what `ndeploy.targets._lava.loihi_runner.Loihi` does."""
        with self.opened(options) as board:
            return board(program, messages, trace=trace, options=options)

    def opened(self, options: RunnerOptions) -> AbstractContextManager[Runner]:
        """The board for several calls, leased from the first on."""
        from ndeploy.targets._lava.loihi_runner import opened

        return opened(options)

    def describe(self, program: Program, options: RunnerOptions) -> tuple[Executed, ...]:
        """Which of Lava's processes stands for each part on the chip, and which parts have none; needs no Lava."""
        from ndeploy.targets._lava.loihi_plan import describe

        return tuple(
            Executed(part.name, part.process, not refused, refused or "untested on hardware")
            for part, refused in describe(program)
        )


RUNNERS: dict[str, Runner] = {"lava": LavaRunner(), "loihi": LoihiRunner()}
"""The runners this target brings."""
