"""Random Continuous Thought Machines compiled at 16 bits, and how far their float equations let them stray.

A machine's error at a tick is that of its integers times what the ticks before make of it, and random machines differ
by orders of magnitude in that: a layer norm over a history of two nearly equal values is a sign, a softmax over large
scores a maximum. So the bound is measured on the equations themselves: how far they move when every tensor of the
machine moves by `STEP` of its largest element. See test_ctm_random.py for what is derived and what is calibrated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ctm_equations
import numpy as np
import numpy.typing as npt
import tiny_ctm
from hypothesis import strategies as st

from ndeploy import sim
from ndeploy.decode import encode
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.pipeline import Compiled, CompileOptions, compile_model

FloatArray = npt.NDArray[np.float64]
Change = Callable[[str, npt.NDArray[Any]], npt.ArrayLike]
"""Of a tensor's name and value."""
SIGNALS = ("synch_action", "attention", "pre", "post", "synch_out", "logits")
STEP = 2.0**-12
DISTURBED = 6
FACTOR = 4.0
FLOOR = 2.0**-10
EVALUATED, CALIBRATED = 4, 16


@st.composite
def choices(draw: st.DrawFn) -> tiny_ctm.Choices:
    """Configurations over the whole space, tiny."""
    heads = draw(st.sampled_from([0, 1, 2, 4]))
    backbones = ["none", "parity_backbone", "resnet18-1", "resnet18-2", "shallow-wide"]
    backbone = draw(st.sampled_from(backbones)) if heads else "none"
    positions = {"parity_backbone": ["none", "custom-rotational-1d"]}
    position = draw(st.sampled_from(positions.get(backbone, ["none", *tiny_ctm.POSITIONS[1:4]]))) if heads else "none"
    least = 6 if backbone == "resnet18-2" else 4  # what is left of smaller images is one place
    side = draw(st.integers(least, 7))
    return tiny_ctm.Choices(
        heads=heads,
        backbone=backbone,
        position=position,
        neurons=draw(st.integers(8, 20)),
        memory=draw(st.integers(1, 5)),
        iterations=draw(st.integers(1, 7)),
        depth=draw(st.integers(1, 4)),
        hidden=draw(st.integers(0, 3)),
        normed=draw(st.booleans()),
        select=draw(st.sampled_from(tiny_ctm.SELECTIONS)),
        n_out=draw(st.integers(1, 4)),
        n_action=draw(st.integers(1, 4)),
        image=(side, side if position == "custom-rotational" else draw(st.integers(least, 7))),
        channels=draw(st.integers(1, 3)),
        length=draw(st.integers(1, 6)),
        reshaper=draw(st.sampled_from([(-1,), (3, 2), (2, -1)])),
    )


@dataclass(frozen=True, eq=False)
class Machine:
    """A machine, the samples it is evaluated on, and what its equations say. state: what a checkpoint holds."""

    made: tiny_ctm.Choices
    state: tiny_ctm.State
    x: FloatArray

    def ticks(self, state: tiny_ctm.State) -> ctm_equations.Ticks:
        """The equations on the samples to evaluate. state: the machine's or one like it."""
        made = self.made
        return ctm_equations.run(
            state, self.x[:EVALUATED], iterations=made.iterations, heads=made.heads, reshaper=made.reshaper
        )

    @cached_property
    def expected(self) -> ctm_equations.Ticks:
        """What the machine's own equations say."""
        return self.ticks(self.state)

    @cached_property
    def strayed(self) -> dict[str, FloatArray]:
        """The most that equations of disturbed machines differ from it, (ticks,) by signal."""
        rng = np.random.default_rng(0)
        most: dict[str, FloatArray] = {}
        for _ in range(DISTURBED):
            other = self.ticks(disturbed(self.state, rng))
            for name, value in errors({n: getattr(other, n) for n in SIGNALS}, self.expected).items():
                most[name] = np.maximum(most.get(name, 0.0), value)
        return most

    def compiled(self, **options: Any) -> Compiled:
        """At 16 bits for Lava, calibrated on its samples, unless options say otherwise."""
        with tempfile.TemporaryDirectory() as folder:
            path, calibration = Path(folder) / "machine.pt", Path(folder) / "calibration.npz"
            tiny_ctm.save(path, self.state, self.made.args())
            np.savez(calibration, x=self.x)
            default: dict[str, Any] = {"target": "lava", "bits": 16, "activation_bits": 16, "calibration": calibration}
            return compile_model(path, CompileOptions(**{**default, **options}))

    def messages(self, program: Program) -> dict[str, IntArray]:
        """Of the samples to evaluate."""
        return encode(program, self.x[:EVALUATED])

    def integers(self, program: Program) -> dict[str, FloatArray]:
        """What the simulator says, in real values: (ticks, samples, ...) by signal."""
        return real(program, sim.run(program, self.messages(program), trace=True, threads=1).traces)


def machine(made: tiny_ctm.Choices, seed: int, change: Change | None = None) -> Machine:
    """With random weights, changed where told. Samples to evaluate first, then more of the same kind to calibrate."""
    state = tiny_ctm.state(made, seed)
    if change is not None:
        state = {name: np.asarray(change(name, value), dtype=value.dtype) for name, value in state.items()}
    return Machine(made, state, tiny_ctm.samples(made, CALIBRATED, seed))


def real(program: Program, traces: Mapping[str, IntArray]) -> dict[str, FloatArray]:
    """Traced messages times what one unit is worth, by signal, ticks first."""
    names = {p.name for p in program.populations}
    where = {name: program.outputs[0].population if name == "logits" else name for name in SIGNALS}
    return {
        name: (traces[f"spikes/{source}"] * np.asarray(program.population(source).scale)).swapaxes(0, 1)
        for name, source in where.items()
        if source in names
    }


def disturbed(state: tiny_ctm.State, rng: np.random.Generator) -> tiny_ctm.State:
    """Every real tensor moved by up to `STEP` of its largest element; decays, which may all be 0, of 1."""
    moved = {}
    for name, value in state.items():
        moved[name] = value
        if value.dtype.kind == "f" and value.size:
            largest = 1.0 if "decay" in name else float(np.abs(value).max())
            moved[name] = value.astype(np.float64) + STEP * largest * rng.uniform(-1, 1, value.shape)
    return moved


def errors(found: Mapping[str, FloatArray], wanted: ctm_equations.Ticks) -> dict[str, FloatArray]:
    """The largest error at each tick, (ticks,) by signal."""
    result = {}
    for name in SIGNALS:
        expected = getattr(wanted, name)
        if expected is not None:
            difference = np.abs(found[name].reshape(expected.shape) - expected)
            result[name] = difference.reshape(len(expected), -1).max(axis=1)
    return result


def bounds(machine: Machine, program: Program) -> dict[str, FloatArray]:
    """What `errors` may be, (ticks,) by signal: `FACTOR` times what disturbed equations stray at this tick or before,
    `FLOOR` of the signal's largest magnitude and, of shares of one, half a unit of the message."""
    starts = {"post": "start_activated_state", "pre": "start_trace"}
    started = {name: float(np.abs(machine.state[tensor]).max()) for name, tensor in starts.items()}
    result = {}
    for name, value in machine.strayed.items():
        # the state that the ticks begin with is coded on the scale of those that follow
        largest = max(float(np.abs(getattr(machine.expected, name)).max()), started.get(name, 0.0))
        rounding = float(np.max(program.population(name).scale)) / 2 if name == "attention" else 0.0
        result[name] = FACTOR * np.maximum.accumulate(value) + FLOOR * largest + rounding
    return result


def worst(machine: Machine, program: Program) -> tuple[float, str, int]:
    """The largest share of its bound that an error takes, of which signal, at which tick. Above 1: it breaks it."""
    found = errors(machine.integers(program), machine.expected)
    shares = {name: found[name] / np.maximum(limit, 1e-12) for name, limit in bounds(machine, program).items()}
    return max((float(share), name, k) for name, values in shares.items() for k, share in enumerate(values))
