"""What runs a program with some of it as in its reference: the float network, or another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ndeploy import sim
from ndeploy.data import Data
from ndeploy.decode import encode, encodes_sequences, split_inputs
from ndeploy.divergence import integer_mix
from ndeploy.divergence.causes import PROGRAM, REFERENCE, Mix
from ndeploy.divergence.exact import Exact
from ndeploy.divergence.hybrid import Hybrid
from ndeploy.divergence.hybrid_graded import wrong_decays
from ndeploy.divergence.signals import FloatArray, Signals, from_traces
from ndeploy.fixed import DECAY_ONE
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLi, CubaLif, Input, Register, Sigma

HALF = 0.5
"""Mantissas: a weight that is rounded to nearest is no further from its real value."""
FEW = 100
"""One weight in so many: where more are further off than half a unit, a method has rounded them together."""
OUTLIER = 4.0
"""Of weights that are rounded together: one that is further off than so many times all others was not rounded so. In
the clean fixtures the furthest is 2.03 times as far off as the next (digits, `post.gate`)."""
TOGETHER = 2.0
"""Mantissas. Weights of graded layers are rounded together; where a neuron has few, one may take the errors of all its
others: 4.4 in a clean machine of 20 neurons with 3 weights each."""
WHOLE = {"bias": "weights", "decay": "activation", "arithmetic": "activation"}
"""In graded layers, the cause of `Hybrid` that a difference between programs belongs to."""
NEAR = 1e-9
TINY = 1e-3
"""Of a threshold or bias: methods add less to a bias to make up for the mean error of rounded weights."""


class Engine(Protocol):
    """Runs mixes of a program and its reference. `program`: whose populations and answers are compared."""

    program: Program

    def differing(self, data: Data) -> Mapping[str, frozenset[str]]:
        """Populations by cause where program and reference differ, or may on these data; others change nothing."""

    def run(self, data: Data, mix: Mix) -> Signals | None:
        """The samples through a mix; None where it cannot be run."""

    def beyond_rounding(self, data: Data) -> Mapping[str, frozenset[str]]:
        """Of `differing`, what no rounding to the program's widths gives."""

    def findings(self, cause: str, populations: frozenset[str]) -> tuple[str, ...]:
        """What differs in numbers, the largest first; a few sentences."""


def input_values(program: Program, data: Data) -> dict[str, FloatArray]:
    """The inputs in units of their messages, neither rounded nor clipped: (samples, model steps, *shape)."""
    parts = split_inputs(program, data.x)
    sequence = encodes_sequences(program, data.x)
    found = {}
    for port in program.inputs:
        value = parts[port.population].astype(np.float64) * (data.x_scale / port.scale)
        found[port.population] = value if sequence else np.repeat(value[:, None], program.steps, axis=1)
    return found


@dataclass(eq=False)
class FloatEngine:
    """Against the float network: `Hybrid` executions. today: what compiling the network gives today, in the same units
    and structure; None where that is not known."""

    program: Program
    exact: Exact
    today: Program | None = None

    def __post_init__(self) -> None:
        self.hybrid = Hybrid(self.program, self.exact)

    def run(self, data: Data, mix: Mix) -> Signals | None:
        """See `Engine`."""
        from ndeploy.divergence.hybrid import ImpossibleMixError

        messages = encode(self.program, data.x, data.x_scale)
        try:
            return self.hybrid.run(messages, input_values(self.program, data), mix)
        except ImpossibleMixError:
            return None

    def differing(self, data: Data) -> Mapping[str, frozenset[str]]:
        """See `Engine`. Saturation and the rounding of inputs are looked for in a run of these data."""
        found: dict[str, set[str]] = {}

        def add(cause: str, name: str, differs: bool) -> None:
            if differs:
                found.setdefault(cause, set()).add(name)

        for q in self.program.projections:
            add("weights", q.target, not _near(self.exact.weights[q.name], q.synapses.weight))
            add("shift", q.target, q.exponent < 0)
            mended = self.hybrid.lags(q, REFERENCE)
            add("delay", q.target, not integer_mix.equal(mended, self.hybrid.lags(q, PROGRAM)))
        for product in self.program.products:
            add("shift", product.target, product.exponent > 0)
        for p in self.program.populations:
            e, neuron = self.exact.neurons.get(p.name), p.neuron
            if p.name in self.exact.integer:
                for cause in integer_mix.differing(neuron, self.exact.integer[p.name]):
                    add(cause, p.name, True)
            if e is None:
                continue
            add("threshold", p.name, not _near(e.theta, e.program_theta))
            add("compare", p.name, e.ge != e.program_ge)
            if isinstance(neuron, CubaLif | CubaLi):
                add("decay", p.name, _decays(neuron.du, neuron.dv, e.alpha, e.beta))
                bias = np.broadcast_to(np.asarray(neuron.bias) - float(e.tie), p.shape).reshape(-1)
                entering = np.broadcast_to(np.asarray(neuron.input_bias), p.shape).reshape(-1)
                add("bias", p.name, not (_near(e.bias, bias) and _near(e.input_bias, entering)))
            if isinstance(neuron, CubaLif):
                add("reset", p.name, not self._same_reset(p.name, neuron))
            add("activation", p.name, isinstance(neuron, CubaLi) and neuron.emit_bits > 0)
        for name in self.exact.graded:
            own = self.program.population(name)
            add("activation", name, not isinstance(own.neuron, Register | Sigma))
            add("decay", name, wrong_decays(own, self.exact.graded[name]))
        messages, values = encode(self.program, data.x, data.x_scale), input_values(self.program, data)
        for p in self.program.populations:
            if isinstance(p.neuron, Input):
                add("activation", p.name, not _near(values[p.name], messages[p.name]))
        for name in self._overflows(data):
            add("saturation", name, True)
        return {cause: frozenset(names) for cause, names in found.items()}

    def beyond_rounding(self, data: Data) -> Mapping[str, frozenset[str]]:
        """See `Engine`. Where it is known what a compile of today gives, a number that is another one there is beyond
        rounding and no other is; overflow, and inputs beyond their payload, are seen in a run of these data."""
        if self.today is None:
            return self._beyond_by_size(data)
        found = {name: set(places) for name, places in self._beyond_on(data).items()}
        for cause, names in integer_mix.program_differences(self.program, self.today).items():
            for name in names:
                whole = WHOLE.get(cause, cause) if name in self.exact.graded else cause
                found.setdefault(whole, set()).add(name)
        return {cause: frozenset(names) for cause, names in found.items() if names}

    def _beyond_on(self, data: Data) -> dict[str, set[str]]:
        """What these data do to the program: sums that overflow, inputs that their payload does not hold."""
        messages, values = encode(self.program, data.x, data.x_scale), input_values(self.program, data)
        found: dict[str, set[str]] = {"saturation": self._overflows(data), "activation": set()}
        for p in self.program.populations:
            if isinstance(p.neuron, Input) and bool((np.abs(values[p.name] - messages[p.name]) > 0.5 + 1e-9).any()):
                found["activation"].add(p.name)
        return found

    def _overflows(self, data: Data) -> set[str]:
        overflow = sim.run(self.program, encode(self.program, data.x, data.x_scale), counts=False).overflow
        return {n for n, events in overflow.items() if events.get("u-wrapped") or events.get("v-saturated")}

    def _beyond_by_size(self, data: Data) -> Mapping[str, frozenset[str]]:
        """Of weights, single ones that are far from their real values: where many are, a method has trained them or
        rounded them together, as it does those of graded layers."""
        differing = self.differing(data)
        found = {name: set(differing.get(name, ())) for name in ("compare", "delay")}
        found |= self._beyond_on(data)
        found |= {name: set() for name in ("weights", "bias", "decay", "threshold", "reset")}
        for q in self.program.projections:
            gap = np.abs(self.exact.weights[q.name] - q.synapses.weight)
            if _stands_out(gap, TOGETHER) if q.target in self.exact.graded else _single_ones_far(gap):
                found["weights"].add(q.target)
        graded = self.exact.graded.items()
        found["decay"] |= {n for n, real in graded if wrong_decays(self.program.population(n), real)}
        for p in self.program.populations:
            neuron, e = p.neuron, self.exact.neurons.get(p.name)
            for cause in integer_mix.differing(neuron, self.exact.integer.get(p.name, neuron)):
                found.setdefault(cause, set()).add(p.name)
            if e is None:
                continue
            if bool((np.abs(e.theta - e.program_theta) > 1.0 + NEAR * np.abs(e.theta)).any()):
                found["threshold"].add(p.name)
            if isinstance(neuron, CubaLif) and not self._same_reset(p.name, neuron, 1.0):
                found["reset"].add(p.name)
            if isinstance(neuron, CubaLif | CubaLi):
                found["decay"] |= {p.name} if _beyond_decays(neuron.du, neuron.dv, e.alpha, e.beta) else set()
                own = np.broadcast_to(np.asarray(neuron.bias) - float(e.tie), p.shape).reshape(-1)
                entering = np.broadcast_to(np.asarray(neuron.input_bias), p.shape).reshape(-1)
                gap = np.abs(e.bias - own) + np.abs(e.input_bias - entering) * 2.0**neuron.shift
                if bool((gap > 2.0**neuron.shift + TINY * np.maximum(np.abs(e.theta), np.abs(e.bias))).any()):
                    found["bias"].add(p.name)
        return {cause: frozenset(names) for cause, names in found.items() if names}

    def _same_reset(self, name: str, neuron: CubaLif, unit: float = 0.0) -> bool:
        """Whether it resets as the network does, to within `unit` state units."""
        e, shape = self.exact.neurons[name], self.program.population(name).shape
        if (e.reset, e.refractory) != (neuron.reset, neuron.refractory):
            return False
        amount = np.broadcast_to(np.asarray(neuron.reset_amount), shape).reshape(-1)
        value = np.broadcast_to(np.asarray(neuron.reset_value), shape).reshape(-1)
        lowers = neuron.reset.startswith("subtract")
        return _near(e.reset_amount if lowers else e.reset_value, amount if lowers else value, unit)

    def findings(self, cause: str, populations: frozenset[str]) -> tuple[str, ...]:
        """See `Engine`."""
        from ndeploy.divergence.findings import of_float

        return of_float(self.program, self.exact, self.hybrid, cause, populations)


def _beyond_decays(du: Any, dv: Any, alpha: FloatArray, beta: FloatArray) -> bool:
    """Whether a factor of 12 bits is not the nearest to its real value; at most 4095/4096 of a current can stay."""
    current = np.clip(alpha * DECAY_ONE, 0, DECAY_ONE - 1) - np.broadcast_to(
        np.asarray(DECAY_ONE - 1 - np.asarray(du)).reshape(-1), alpha.shape
    )
    membrane = np.clip(beta * DECAY_ONE, 1, DECAY_ONE) - np.broadcast_to(
        np.asarray(DECAY_ONE - np.asarray(dv)).reshape(-1), beta.shape
    )
    return bool((np.abs(current) > 1.0).any() or (np.abs(membrane) > 1.0).any())


def _single_ones_far(gap: FloatArray) -> bool:
    """Whether a few weights are off by what neither rounding to nearest nor rounding together gives. Where most are
    off by half a unit or less it is rounding to nearest, and any other is far; else one that stands out from the rest
    by a factor."""
    few = max(1, gap.size // FEW)
    far = int((gap > HALF + NEAR).sum())
    if far <= few:
        return far > 0
    return _stands_out(gap, 1.0)


def _stands_out(gap: FloatArray, least: float) -> bool:
    """Whether one weight is off by `OUTLIER` times what any other is, and by as many times `least` mantissas."""
    order = np.sort(gap, axis=None)
    return bool(order[-1] > OUTLIER * max(least, order[-2] if order.size > 1 else 0.0))


def _near(real: FloatArray, whole: npt.NDArray[Any], within: float = 0.0) -> bool:
    return bool(np.allclose(real, whole, rtol=1e-9, atol=1e-9 + within))


def _decays(du: Any, dv: Any, alpha: FloatArray, beta: FloatArray) -> bool:
    """Whether a decay is rounded: its factor, or its product with a state that neither stays nor goes as a whole."""
    for keep, share in ((DECAY_ONE - 1 - np.asarray(du), alpha), (DECAY_ONE - np.asarray(dv), beta)):
        whole = np.isin(keep, (0, DECAY_ONE)).all() and np.isin(share, (0.0, 1.0)).all()
        if not (whole and _near(np.broadcast_to(share, share.shape), np.full(share.shape, keep.flat[0] / DECAY_ONE))):
            return True
    return False


@dataclass(eq=False)
class ProgramEngine:
    """Against another program of the same structure and units: programs mixed of the two, in the simulator."""

    program: Program
    reference: Program
    threads: int | None = None

    def run(self, data: Data, mix: Mix) -> Signals | None:
        """See `Engine`."""
        from ndeploy import wellformed

        whole = {PROGRAM: self.program, REFERENCE: self.reference}
        mixed = whole[mix] if mix in whole else integer_mix.mixed_program(self.program, self.reference, mix)
        if mix not in whole:
            try:
                wellformed.check(mixed)
            except ValueError:
                return None
        messages = encode(mixed, data.x, data.x_scale)
        return from_traces(mixed, sim.run(mixed, messages, trace=True, counts=False, threads=self.threads).traces)

    def differing(self, data: Data) -> Mapping[str, frozenset[str]]:
        """See `Engine`."""
        found = integer_mix.program_differences(self.program, self.reference)
        return {cause: frozenset(names) for cause, names in found.items()}

    def beyond_rounding(self, data: Data) -> Mapping[str, frozenset[str]]:
        """See `Engine`. Nothing is rounded between two programs."""
        return self.differing(data)

    def findings(self, cause: str, populations: frozenset[str]) -> tuple[str, ...]:
        """See `Engine`."""
        from ndeploy.divergence.findings import of_programs

        return of_programs(self.program, self.reference, cause, populations)


def why_not(program: Program, reference: Program) -> str:
    """Why parts of one program cannot take the place of the other's; "" where they can."""
    theirs = {p.name: p for p in reference.populations}
    if set(theirs) != {p.name for p in program.populations}:
        return "the two programs have other populations"
    for p in program.populations:
        r = theirs[p.name]
        if p.shape != r.shape or type(p.neuron) is not type(r.neuron) or p.updates != r.updates:
            return f"population '{p.name}' is another in the two programs"
        if not _same_unit(p.scale, r.scale):
            return f"the state of '{p.name}' is measured in another unit in the two programs"
    known = {q.name: q for q in reference.projections}
    if set(known) != {q.name for q in program.projections}:
        return "the two programs have other projections"
    for q in program.projections:
        other = known[q.name]
        alike = type(q.synapses) is type(other.synapses) and q.synapses.weight.shape == other.synapses.weight.shape
        if not alike or (q.source, q.target, q.port) != (other.source, other.target, other.port):
            return f"projection '{q.name}' is another in the two programs"
        if not _same_unit(q.scale, other.scale):
            return f"the weights of '{q.name}' are measured in another unit in the two programs"
    if {q.name for q in program.products} != {q.name for q in reference.products}:
        return "the two programs have other products"
    entering = [[(port.population, port.scale) for port in p.inputs] for p in (program, reference)]
    if program.steps != reference.steps or entering[0] != entering[1]:
        return "the two programs take other inputs"
    return ""


def _same_unit(one: Any, other: Any) -> bool:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    try:
        return bool(np.allclose(a, b, rtol=1e-9, atol=0.0))
    except ValueError:
        return False
