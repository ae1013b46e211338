"""How a population is updated: compiled for the common neurons, through the neuron's own `step` for every other.

An evaluator advances tiles: some samples over some consecutive model steps, states in and out. Sums arrive in
simulator order as (array (B, T, N), exponent): the input is array << exponent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import DECAY_ONE
from ndeploy.ir.program import Population
from ndeploy.neurons import (
    Affine,
    Compare,
    CubaLi,
    CubaLif,
    Gate,
    LayerNorm,
    Neuron,
    Parameter,
    Relay,
    Silu,
    Softmax,
    Synchrony,
    TernaryLif,
)
from ndeploy.sim.layout import convert, order

Array = npt.NDArray[Any]
Sums = Mapping[str, tuple[Array, int]]
INT32_ROOM = 2**31 - 2**25
"""Inputs below this leave room for a decayed 24-bit state beside them in int32."""


def guaranteed(neuron: Neuron) -> tuple[int, int] | None:
    """Lowest and highest message that the neuron can send whatever arrives; None if its payload is only declared."""
    if isinstance(neuron, CubaLif | Compare):
        return 0, 1
    if isinstance(neuron, TernaryLif):
        return -1, 1
    if isinstance(neuron, CubaLi):
        return (neuron.message.low, neuron.message.high) if neuron.emit_bits else (0, 0)
    if isinstance(neuron, Affine | Gate | Silu | LayerNorm | Softmax | Synchrony):  # they clip
        return neuron.message.low, neuron.message.high
    return None


def narrowest(low: int, high: int) -> type[np.signedinteger[Any]]:
    """The narrowest of int8, int32, int64 that holds low .. high."""
    if low >= -128 and high <= 127:
        return np.int8
    return np.int32 if low >= -(2**31) and high < 2**31 else np.int64


class Evaluator(ABC):
    """One population's update. bounds: of its messages, None if they must be measured; state_dtype: of its state."""

    state_dtype: type[np.signedinteger[Any]] = np.int64

    def __init__(self, population: Population, layout: int) -> None:
        self.population = population
        self.layout = layout
        self.size = population.size
        self.bounds = guaranteed(population.neuron)

    @property
    def message_dtype(self) -> type[np.signedinteger[Any]]:
        """Wide enough for what `advance` writes."""
        if self.bounds is None:
            return np.int64
        return narrowest(*self.bounds)

    @abstractmethod
    def begin(self, samples: int) -> dict[str, Array]:
        """Cleared state, each array with samples first; `advance` changes it in place."""

    @abstractmethod
    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        """Update; messages and traces (B, T, N) are written; returns how often values left their widths, by event."""


class StepEvaluator(Evaluator):
    """Any neuron, by its `step`, batched over samples in 64 bits."""

    def begin(self, samples: int) -> dict[str, Array]:
        return self.population.neuron.initial((samples, *self.population.shape))

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        neuron = self.population.neuron
        samples, steps, _ = messages.shape
        shape = samples, *self.population.shape
        now = dict(state)
        events: dict[str, int] = {}
        arrived = {port: convert(a, self.layout, 1).astype(np.int64) << e for port, (a, e) in sums.items()}
        for t in range(steps):
            inputs = {port: a[:, t].reshape(shape) for port, a in arrived.items()}
            for event, n in neuron.overflow(now, inputs).items():
                events[event] = events.get(event, 0) + n
            now, message = neuron.step(now, inputs)
            messages[:, t] = convert(message.reshape(samples, -1), 1, self.layout)
            for name, trace in traces.items():
                trace[:, t] = convert(now[name].reshape(samples, -1), 1, self.layout)
        for name, value in now.items():
            state[name][...] = value
        return events


class LifEvaluator(Evaluator):
    """cuba-lif, cuba-li and ternary-lif in 32 bits. Use only where `fits`."""

    state_dtype = np.int32

    def __init__(self, population: Population, layout: int, bound: int) -> None:
        """bound: on the magnitude of the summed input."""
        super().__init__(population, layout)
        neuron = population.neuron
        if not isinstance(neuron, CubaLif | CubaLi | TernaryLif):
            raise TypeError(f"no compiled update for {neuron.kind}")
        self.neuron: CubaLif | CubaLi | TernaryLif = neuron
        self.reset = neuron.reset if isinstance(neuron, CubaLif) else "zero"
        self.refractory = neuron.refractory if isinstance(neuron, CubaLif) else 0
        self.input_bias = 0 if isinstance(neuron, TernaryLif) else neuron.input_bias
        self.bound = bound
        self.ready = False

    def fits(self) -> bool:
        """Whether 32 bits hold every intermediate."""
        neuron = self.neuron
        amounts = [neuron.bias, *(getattr(neuron, x, 0) for x in ("reset_amount", "reset_value", "refractory"))]
        thresholds = [getattr(neuron, name, 0) for name in ("vth", "vth_low", "vth_high")]
        decays = all(_lowest(d) >= 0 and _largest(d) < DECAY_ONE for d in (neuron.du, neuron.dv))
        return (
            decays
            and 0 <= neuron.shift < 31
            and (self.bound + _largest(self.input_bias)) << neuron.shift < INT32_ROOM
            and all(_largest(x) < 2**28 for x in amounts)
            and all(_largest(x) < 2**31 for x in thresholds)
        )

    def _prepare(self) -> None:
        """Parameters as the kernels take them: (N,) int32 in simulator order."""
        neuron = self.neuron
        self.u_keep = self._array(DECAY_ONE - 1 - np.asarray(neuron.du))
        self.v_keep = self._array(DECAY_ONE - np.asarray(neuron.dv))
        self.bias = self._array(neuron.bias)
        self.add = self._array(np.asarray(self.input_bias) << neuron.shift)
        self.amount = self._array(getattr(neuron, "reset_amount", 0))
        self.rest = self._array(getattr(neuron, "reset_value", 0))
        self.low = self._array(neuron.vth_low if isinstance(neuron, TernaryLif) else -(2**31))
        if isinstance(neuron, TernaryLif):
            self.high = self._array(neuron.vth_high)
        else:
            self.high = self._array(neuron.vth if isinstance(neuron, CubaLif) else 2**31 - 1)
        self.lean = (
            self.u_keep if self.u_keep.any() else None,
            self.v_keep if (self.v_keep != DECAY_ONE).any() else None,
            self.amount if self.reset == "subtract" else None,
        )
        self.common = (
            not isinstance(neuron, TernaryLif)
            and self.reset in ("zero", "subtract")
            and not (self.refractory or self.add.any() or self.rest.any())
        )
        # without a memory of its own the current is the input, and that may be known to be small
        self.may_wrap = None if not self.u_keep.any() and self.bound << neuron.shift < 2**23 else True
        self.ready = True

    def _array(self, value: Parameter) -> Array:
        full = np.broadcast_to(np.asarray(value), self.population.shape).reshape(-1)
        return np.ascontiguousarray(full[order(self.size, self.layout)]).astype(np.int32)

    def begin(self, samples: int) -> dict[str, Array]:
        if not self.ready:
            self._prepare()
        return {name: np.zeros((samples, self.size), dtype=np.int32) for name in ("u", "v", "spiked", "wait")}

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        neuron = self.neuron
        array, exponent = sums["in"]
        scale = np.int32(1 << (exponent + neuron.shift))
        emits = isinstance(neuron, CubaLi) and neuron.emit_bits
        spikes = np.empty(messages.shape, dtype=np.int8) if isinstance(neuron, CubaLi) else messages
        traces = dict(traces)
        if emits and "v" not in traces:
            traces["v"] = np.empty(messages.shape, dtype=np.int32)
        events = np.zeros(2, dtype=np.int64)
        if self.common and traces.keys() <= {"v"}:
            self._common(_narrow(array), scale, state, spikes, traces.get("v"), events)
        else:
            self._any(_narrow(array).astype(np.int32, copy=False), scale, state, spikes, traces, events)
        if isinstance(neuron, CubaLi):
            if emits:
                np.clip(traces["v"] >> neuron.emit_shift, neuron.message.low, neuron.message.high, out=messages)
            else:
                messages[...] = 0
        if "spiked" in traces:
            traces["spiked"][...] = messages
        return {"u-wrapped": int(events[0]), "v-saturated": int(events[1])}

    def _common(
        self,
        sums: Array,
        scale: np.int32,
        state: Mapping[str, Array],
        spikes: Array,
        trace_v: Array | None,
        events: Array,
    ) -> None:
        from ndeploy.sim.kernels_neuron import lif

        u_keep, v_keep, amount = self.lean
        u, v = state["u"], state["v"]
        factor = sums.dtype.type(scale)
        lif(sums, factor, self.may_wrap, u, u_keep, v, v_keep, self.bias, self.high, amount, spikes, trace_v, events)

    def _any(
        self,
        sums: Array,
        scale: np.int32,
        state: Mapping[str, Array],
        spikes: Array,
        traces: Mapping[str, Array],
        events: Array,
    ) -> None:
        from ndeploy.sim.kernels_neuron import lif_any

        subtract = np.int32(self.reset.startswith("subtract"))
        delayed, at_once = np.int32(self.reset.endswith("-next")), np.int32(self.reset in ("zero", "subtract"))
        u, v, wait = (traces[n] if n in traces else np.empty(sums.shape, dtype=np.int32) for n in ("u", "v", "wait"))
        lif_any(
            sums, scale, self.add, state["u"], self.u_keep, state["v"], self.v_keep, self.bias, self.high, self.low,
            self.amount, self.rest, subtract, delayed, at_once, state["spiked"], state["wait"],
            np.int32(self.refractory), spikes, u, v, wait, events,
        )  # fmt: skip


class RelayEvaluator(Evaluator):
    """relay in 32 bits; `bound` on its input gives the width of its messages."""

    def __init__(self, population: Population, layout: int, bound: int) -> None:
        super().__init__(population, layout)
        self.bounds = (-bound, bound)

    def begin(self, samples: int) -> dict[str, Array]:
        return {}

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_neuron import relay

        neuron = self.population.neuron
        if not isinstance(neuron, Relay):
            raise TypeError(f"no relay: {neuron.kind}")
        array, exponent = sums["in"]
        events = np.zeros(1, dtype=np.int64)
        low, high = (np.int32(x) for x in (neuron.message.low, neuron.message.high))
        rows = -1, self.size
        scale, vth = np.int32(1 << exponent), np.int32(neuron.vth)
        relay(_narrow(array).reshape(rows), scale, vth, low, high, messages.reshape(rows), events)
        return {"payload-overflow": int(events[0])}


class CompareEvaluator(Evaluator):
    """compare in 32 bits."""

    def begin(self, samples: int) -> dict[str, Array]:
        return {}

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_neuron import compare

        neuron = self.population.neuron
        if not isinstance(neuron, Compare):
            raise TypeError(f"no comparison: {neuron.kind}")
        array, exponent = sums["in"]
        level = np.broadcast_to(np.asarray(neuron.vth) - neuron.bias, self.population.shape).reshape(-1)
        threshold = np.ascontiguousarray(level[order(self.size, self.layout)]).astype(np.int32)
        rows = -1, self.size
        compare(_narrow(array).reshape(rows), np.int32(1 << exponent), threshold, messages.reshape(rows))
        return {}


def evaluator(population: Population, layout: int, bounds: Mapping[str, int | None]) -> Evaluator:
    """The fastest exact evaluator for inputs of magnitude <= bounds, by port (None: not bounded, or to use `step`)."""
    from ndeploy.sim.graded import graded

    neuron = population.neuron
    known = {port: bound for port, bound in bounds.items() if bound is not None}
    if len(known) < len(neuron.ports):
        return StepEvaluator(population, layout)
    found = graded(population, layout, known)
    if found is not None:
        return found
    bound = next(iter(known.values()))
    if isinstance(neuron, CubaLif | CubaLi | TernaryLif):
        lif = LifEvaluator(population, layout, bound)
        if lif.fits():
            return lif
    elif isinstance(neuron, Relay):
        if bound < 2**30 and neuron.vth >= 0 and neuron.message.bits < 31:
            return RelayEvaluator(population, layout, bound)
    elif isinstance(neuron, Compare):
        level: Array = np.asarray(neuron.vth, dtype=np.int64) - neuron.bias
        if bound < 2**30 and _largest(level) < 2**31:
            return CompareEvaluator(population, layout)
    return StepEvaluator(population, layout)


def _largest(value: Parameter) -> int:
    return int(np.abs(np.asarray(value)).max(initial=0))


def _lowest(value: Parameter) -> int:
    return int(np.asarray(value).min())


def _narrow(sums: Array) -> Array:
    """int32 or float32, as the kernels take them; the caller has proved that nothing is lost."""
    return sums if sums.dtype in (np.int32, np.float32) else sums.astype(np.int32)
