"""Compiled evaluators of graded neurons: affine, gate, silu, layer norm, softmax, synchrony, register."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Population
from ndeploy.neurons import Affine, Gate, LayerNorm, Neuron, Parameter, Register, Silu, Softmax, Synchrony
from ndeploy.sim.evaluators import Evaluator, Sums
from ndeploy.sim.layout import order

Array = npt.NDArray[Any]
Bound = tuple[Callable[[Array], object], Callable[[], dict[str, int]]]
ROOM = 2**61
"""No intermediate of a compiled update is larger."""
NO_FLOOR = -(2**62)
"""Below every value: what an unsigned payload clips at zero by design is not counted."""
SIGMOID_TOP = 2**15


def whole(sums: Array, exponent: int, bound: int) -> Array:
    """Sums as int32 or int64 rows with the exponent applied; bound: on the result."""
    rows = sums.reshape(-1, sums.shape[-1])
    wanted = np.int32 if bound < 2**31 else np.int64
    if rows.dtype != np.int32 and rows.dtype != np.int64:
        rows = rows.astype(wanted)
    if exponent:
        rows = rows.astype(wanted, copy=False) << exponent
    return np.ascontiguousarray(rows)


class GradedEvaluator(Evaluator):
    """bounds: on the magnitude of the input, by port."""

    events: tuple[str, ...] = ("payload-saturated", "input-overflow")

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int]) -> None:
        super().__init__(population, layout)
        self.reach = dict(bounds)
        self.ready = False

    def fits(self) -> bool:
        """Whether 64 bits hold every intermediate."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Parameters as the kernels take them."""
        raise NotImplementedError

    def begin(self, samples: int) -> dict[str, Array]:
        if not self.ready:
            self.prepare()
            self.ready = True
        start = self.population.neuron.initial(self.population.shape)
        where = order(self.size, self.layout)
        return {name: np.tile(value.reshape(-1)[where], (samples, 1)) for name, value in start.items()}

    def row(self, value: Parameter) -> Array:
        """(N,) int64 in simulator order."""
        full = np.broadcast_to(np.asarray(value, dtype=np.int64), self.population.shape).reshape(-1)
        return np.ascontiguousarray(full[order(self.size, self.layout)])

    def arrived(self, sums: Sums, port: str) -> Array:
        return whole(*sums[port], self.reach[port])

    def bind(self, state: Mapping[str, Array], sums: Mapping[str, Array]) -> Bound | None:
        """What brings rows of messages (B, N) from sums (B, N), int32 or int64, and what tells the events since; None
        where a step has to go through `advance`. A step is then one call of a kernel."""
        return None

    def counted(self, found: Array) -> dict[str, int]:
        return {name: int(n) for name, n in zip(self.events, found, strict=True)}


class AffineEvaluator(GradedEvaluator):
    """affine."""

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int], neuron: Affine) -> None:
        super().__init__(population, layout, bounds)
        self.neuron = neuron

    def fits(self) -> bool:
        x = self.reach["in"] + largest(self.neuron.bias)
        return scales(x, self.neuron.multiplier, self.neuron.shift)

    def prepare(self) -> None:
        n, message = self.neuron, self.neuron.message
        self.parameters = self.row(n.bias), self.row(n.multiplier), self.row(n.shift)
        self.limits = np.int64(message.low), np.int64(message.high), np.int64(message.low if n.signed else NO_FLOOR)

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_graded import affine

        found = np.zeros(2, dtype=np.int64)
        affine(self.arrived(sums, "in"), *self.parameters, *self.limits, found, rows(messages))
        return self.counted(found)

    def bind(self, state: Mapping[str, Array], sums: Mapping[str, Array]) -> Bound:
        from ndeploy.sim.kernels_graded import affine

        found = np.zeros(2, dtype=np.int64)
        return partial(affine, sums["in"], *self.parameters, *self.limits, found), partial(self.counted, found)


class GateEvaluator(GradedEvaluator):
    """gate, and silu, which is its own gate."""

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int], neuron: Gate | Silu) -> None:
        super().__init__(population, layout, bounds)
        self.neuron = neuron
        self.gate_port = "gate" if isinstance(neuron, Gate) else "in"
        self.gate_bias = neuron.gate_bias if isinstance(neuron, Gate) else neuron.bias

    def fits(self) -> bool:
        n = self.neuron
        x = self.reach["in"] + largest(n.bias)
        g = self.reach[self.gate_port] + largest(self.gate_bias)
        return (
            x * SIGMOID_TOP < ROOM and scales(x, n.multiplier, n.shift) and scales(g, n.gate_multiplier, n.gate_shift)
        )

    def prepare(self) -> None:
        from ndeploy.sim.kernels_graded import SIGMOID

        n, message = self.neuron, self.neuron.message
        self.table = SIGMOID
        own = (n.bias, self.gate_bias, n.gate_multiplier, n.gate_shift, n.multiplier, n.shift)
        self.parameters = tuple(self.row(x) for x in own)
        self.limits = np.int64(message.low), np.int64(message.high), np.int64(message.low if n.signed else NO_FLOOR)

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_graded import gate

        found = np.zeros(3, dtype=np.int64)
        a = self.arrived(sums, "in")
        g = a if self.gate_port == "in" else self.arrived(sums, self.gate_port)
        own = self.table, *self.parameters, *self.limits, found
        gate(a, g, *own, rows(messages))  # type: ignore[call-arg]
        return self.counted(found)

    def bind(self, state: Mapping[str, Array], sums: Mapping[str, Array]) -> Bound:
        from ndeploy.sim.kernels_graded import gate

        found = np.zeros(3, dtype=np.int64)
        own = self.table, *self.parameters, *self.limits, found
        return partial(gate, sums["in"], sums[self.gate_port], *own), partial(self.counted, found)

    def counted(self, found: Array) -> dict[str, int]:
        events = {"payload-saturated": int(found[0]), "input-overflow": int(found[1])}
        return events | {"gate-overflow": int(found[2])} if self.gate_port == "gate" else events


class LayerNormEvaluator(GradedEvaluator):
    """layer-norm, where the simulator's order keeps the view's axes apart."""

    events = ("payload-saturated", "input-overflow", "aligned-saturated")

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int], neuron: LayerNorm) -> None:
        super().__init__(population, layout, bounds)
        self.neuron = neuron
        self.sizes = _strides(neuron.view, neuron.axis, layout, self.size)

    def fits(self) -> bool:
        n = self.neuron
        x = self.reach["in"] + largest(n.bias)
        group = n.view[n.axis]
        # y of a group is at most sqrt(group), in units of 1/4096, where epsilon only lowers it; the floored root may
        # be 0 instead of that, and then y is at most 2^41 + 1
        top = 2**42 * largest(n.gain) + largest(n.offset)
        variance = group * 2**42 < 2**53 and 0 <= n.epsilon < 2**44
        return self.sizes is not None and variance and scales(x, n.multiplier, n.shift) and scales(top, 1, n.gain_shift)

    def prepare(self) -> None:
        n = self.neuron
        self.parameters = tuple(self.row(x) for x in (n.bias, n.multiplier, n.shift, n.gain, n.offset, n.gain_shift))
        self.limits = np.int64(n.epsilon), np.int64(n.message.high)

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_graded import layer_norm

        if self.sizes is None:
            raise TypeError("this layout mixes the view's axes")
        found = np.zeros(3, dtype=np.int64)
        own = *self.sizes, *self.parameters, *self.limits, found
        layer_norm(self.arrived(sums, "in"), *own, rows(messages))  # type: ignore[call-arg]
        return self.counted(found)

    def bind(self, state: Mapping[str, Array], sums: Mapping[str, Array]) -> Bound | None:
        from ndeploy.sim.kernels_graded import layer_norm

        if self.sizes is None:
            return None
        found = np.zeros(3, dtype=np.int64)
        own = *self.sizes, *self.parameters, *self.limits, found
        return partial(layer_norm, sums["in"], *own), partial(self.counted, found)


class SoftmaxEvaluator(GradedEvaluator):
    """softmax over neighbours."""

    events = ("input-overflow",)

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int], neuron: Softmax) -> None:
        super().__init__(population, layout, bounds)
        self.neuron = neuron
        self.sizes = _strides(neuron.view, len(neuron.view) - 1, layout, self.size)

    def fits(self) -> bool:
        neighbours = self.sizes is not None and self.sizes[2] == 1
        return neighbours and scales(2 * self.reach["in"], self.neuron.multiplier, self.neuron.shift)

    def prepare(self) -> None:
        from ndeploy.sim.kernels_graded import EXP2

        self.table = EXP2
        self.parameters = self.row(self.neuron.multiplier), self.row(self.neuron.shift)

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_graded import softmax

        found = np.zeros(1, dtype=np.int64)
        n, high = self.neuron.view[-1], np.int64(self.neuron.message.high)
        softmax(self.arrived(sums, "in"), n, self.table, *self.parameters, high, found, rows(messages))
        return self.counted(found)

    def bind(self, state: Mapping[str, Array], sums: Mapping[str, Array]) -> Bound:
        from ndeploy.sim.kernels_graded import softmax

        found = np.zeros(1, dtype=np.int64)
        own = self.neuron.view[-1], self.table, *self.parameters, np.int64(self.neuron.message.high), found
        return partial(softmax, sums["in"], *own), partial(self.counted, found)


class SynchronyEvaluator(GradedEvaluator):
    """synchrony; every neuron has made as many updates as every other."""

    events = ("payload-saturated", "alpha-saturated")

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int], neuron: Synchrony) -> None:
        super().__init__(population, layout, bounds)
        self.neuron = neuron

    def fits(self) -> bool:
        n = self.neuron
        alpha = 2**23 + largest(n.start)
        return (
            self.reach["left"] * self.reach["right"] < ROOM
            and lowest(n.factor) >= 0
            and alpha * largest(n.factor) < ROOM
            and 0 <= n.exponent < 62
            and scales(2**23, n.table, n.shift)
        )

    def prepare(self) -> None:
        n = self.neuron
        where = order(self.size, self.layout)
        table = np.broadcast_to(n.table.reshape(len(n.table), -1), (len(n.table), self.size))
        self.factor, self.shift = self.row(n.factor), self.row(n.shift)
        self.table = np.ascontiguousarray(table[:, where].astype(np.int64))
        self.nothing = np.empty((0, 0, 0), dtype=np.int64)

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_graded import synchrony

        found = np.zeros(2, dtype=np.int64)
        left, right = (self.arrived(sums, port).reshape(messages.shape) for port in self.neuron.ports)
        tick = int(state["tick"][0, 0])
        synchrony(
            left, right, np.int64(self.neuron.exponent), state["alpha"], tick, self.factor, self.table, self.shift,
            np.int64(self.neuron.message.high), messages, traces.get("alpha", self.nothing), found,
        )  # fmt: skip
        state["tick"] += messages.shape[1]
        if "tick" in traces:
            traces["tick"][...] = np.arange(tick + 1, tick + 1 + messages.shape[1])[:, None]
        return self.counted(found)


class RegisterEvaluator(GradedEvaluator):
    """register."""

    def __init__(self, population: Population, layout: int, bounds: Mapping[str, int], neuron: Register) -> None:
        super().__init__(population, layout, bounds)
        top = bounds["in"] + largest(neuron.start)
        self.neuron = neuron
        self.bounds = -top, top

    def fits(self) -> bool:
        return self.reach["in"] + largest(self.neuron.start) < ROOM

    def prepare(self) -> None:
        self.limits = np.int64(self.neuron.message.low), np.int64(self.neuron.message.high)

    def begin(self, samples: int) -> dict[str, Array]:
        return super().begin(samples) | {"fresh": np.ones(samples, dtype=bool)}

    def advance(
        self, state: Mapping[str, Array], sums: Sums, messages: Array, traces: Mapping[str, Array]
    ) -> dict[str, int]:
        from ndeploy.sim.kernels_graded import register

        arrived = self.arrived(sums, "in")
        if state["fresh"].any():
            arrived = arrived.reshape(messages.shape).astype(np.int64)
            arrived[:, 0] += state["held"]
            arrived = arrived.reshape(-1, self.size)
            state["fresh"][...] = False
        if "held" in traces:
            traces["held"][...] = 0
        low, high = self.limits
        return {"payload-overflow": int(register(arrived, low, high, rows(messages)))}


def graded(population: Population, layout: int, bounds: Mapping[str, int]) -> Evaluator | None:
    """The compiled evaluator of a graded neuron, None where there is none or 64 bits might not do."""
    neuron: Neuron = population.neuron
    made: GradedEvaluator
    if isinstance(neuron, Affine):
        made = AffineEvaluator(population, layout, bounds, neuron)
    elif isinstance(neuron, Gate | Silu):
        made = GateEvaluator(population, layout, bounds, neuron)
    elif isinstance(neuron, LayerNorm):
        made = LayerNormEvaluator(population, layout, bounds, neuron)
    elif isinstance(neuron, Softmax):
        made = SoftmaxEvaluator(population, layout, bounds, neuron)
    elif isinstance(neuron, Synchrony):
        made = SynchronyEvaluator(population, layout, bounds, neuron)
    elif isinstance(neuron, Register):
        made = RegisterEvaluator(population, layout, bounds, neuron)
    else:
        return None
    return made if made.fits() else None


def rows(messages: Array) -> Array:
    """(B, T, N) as (B * T, N), which must not copy."""
    return messages.reshape(-1, messages.shape[-1]) if messages.flags.c_contiguous else _strided(messages)


def _strided(messages: Array) -> Array:
    if messages.shape[1] != 1:
        raise ValueError("messages of several steps must lie together")
    flat: Array = messages[:, 0]
    return flat


def scales(top: int, multiplier: Parameter, shift: Parameter) -> bool:
    """Whether rescale of values of that magnitude stays in 64 bits."""
    last = largest(shift)
    return lowest(shift) >= 0 and last < 61 and top * largest(multiplier) + (1 << last) < ROOM


def largest(value: Parameter) -> int:
    """Largest magnitude."""
    return int(np.abs(np.asarray(value)).max(initial=0))


def lowest(value: Parameter) -> int:
    """The smallest."""
    return int(np.asarray(value).min())


def _strides(view: tuple[int, ...], axis: int, layout: int, size: int) -> tuple[int, int, int] | None:
    """(outer, n, inner) of the view's axis in simulator order, None where the order splits an axis of the view."""
    axis %= len(view)
    if layout not in (1, size):
        front = next((k for k in range(1, len(view)) if int(np.prod(view[:k])) == layout), None)
        if front is None:
            return None
        axis = axis - front if axis >= front else axis + len(view) - front
        view = view[front:] + view[:front]
    return int(np.prod(view[:axis])), view[axis], int(np.prod(view[axis + 1 :]))
