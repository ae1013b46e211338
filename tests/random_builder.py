"""What random programs are built with: draws, weights, projections and the neurons of networks that spike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Projection
from ndeploy.neurons import (
    Compare,
    CubaLi,
    CubaLif,
    Delta,
    Neuron,
    ProductNeuron,
    Relay,
    Sigma,
    SigmaDelta,
    TernaryLif,
)
from ndeploy.neurons.cuba_lif import RESETS
from ndeploy.synapses import Conv, Dense, Sparse, Synapses

SPIKING = ("cuba-lif", "cuba-lif", "cuba-lif", "cuba-li", "ternary-lif", "compare")
GRADED = ("relay", "sigma", "delta", "sigma-delta", "product")
LIMITS = {False: 2**40, True: 2**22}
"""By `native`: no message grows past this, so that 64-bit sums never wrap, and Lava's 32-bit ones neither."""


def lag_of(source_offset: int, delay: int, target_offset: int, period: int) -> int:
    """Model steps between sending and consuming (docs/program.md)."""
    return -((target_offset - source_offset - delay) // period)


def delay_for(lag: int, source_offset: int, target_offset: int, period: int, slack: int = 0) -> int:
    """The smallest valid delay (>= 1) whose lag is at least `lag`, plus `slack` chip steps.

    With slack = 0 and lag = 0 a message may wait up to period - 1 chip steps for its target's update.
    """
    return max(1, (lag - 1) * period + 1 + target_offset - source_offset) + slack


def weight_range(bits: int, sign: str) -> tuple[int, int]:
    """Lowest and highest mantissa."""
    if sign == "mixed":
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return (0, (1 << bits) - 1) if sign == "excitatory" else (-((1 << bits) - 1), 0)


@dataclass
class Builder:
    """What has been drawn so far. magnitude: a bound on |message| by population; incoming: on what projections and
    products add to "population/port" in one update. graded: the graded kinds, and populations that stop, are drawn."""

    draw: st.DrawFn
    rng: np.random.Generator
    native: bool
    period: int
    steps: int
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    magnitude: dict[str, int] = field(default_factory=dict)
    incoming: dict[str, int] = field(default_factory=dict)
    graded: bool = False

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def choice(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def updates(self) -> int | None:
        """None for every model step; where `graded`, some populations stop early."""
        return self.integer(1, self.steps) if self.graded and self.integer(0, 2) == 0 else None

    def parameter(self, low: int, high: int, shape: tuple[int, ...]) -> int | IntArray:
        """A scalar, or (not in native mode) an array per neuron or per first axis."""
        form = "scalar" if self.native else self.choice(("scalar", "scalar", "neuron", "channel"))
        if form == "scalar":
            return int(self.rng.integers(low, high + 1))
        if form == "neuron" or len(shape) < 2:
            return self.rng.integers(low, high + 1, size=shape)
        return self.rng.integers(low, high + 1, size=(shape[0], *([1] * (len(shape) - 1))))

    def sources(self) -> list[Population]:
        """Populations that send, and nothing too large to go on with."""
        return [p for p in self.populations if p.neuron.message.bits and self.magnitude[p.name] <= LIMITS[self.native]]

    def add(self, population: Population, magnitude: int) -> None:
        self.populations.append(population)
        self.magnitude[population.name] = magnitude

    def weights(self, shape: tuple[int, ...], bits: int, sign: str) -> np.ndarray[Any, Any]:
        low, high = weight_range(bits, sign)
        weight = self.rng.integers(low, high + 1, size=shape).astype(np.int16)
        return np.where(self.rng.random(shape) < 0.2, 0, weight).astype(np.int16) if low <= 0 <= high else weight

    def conv(self, source: Population, bits: int, sign: str) -> Conv:
        channels, height, width = source.shape
        groups = self.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
        c_out = groups * self.integer(1, 2)
        kernel, stride, padding, dilation = [], [], [], []
        for size in (height, width):
            pad = self.integer(0, 2)
            dil = self.integer(1, 2)
            longest = (size + 2 * pad - 1) // dil + 1
            kernel.append(self.integer(1, min(3, longest)))
            padding.append(pad)
            dilation.append(dil)
            stride.append(self.integer(1, 2))
        weight = self.weights((c_out, channels // groups, *kernel), bits, sign)
        return Conv(weight, (channels, height, width), *map(tuple, (stride, padding, dilation)), groups)

    def synapses(self, source: Population, size: int, bits: int, sign: str) -> Synapses:
        if self.chance():
            return Dense(self.weights((size, source.size), bits, sign))
        keep = self.rng.random((size, source.size)) < 0.5
        keep[self.rng.integers(size), self.rng.integers(source.size)] = True
        target, index = np.nonzero(keep)
        return Sparse(self.weights(target.shape, bits, sign), target, index, source.size, size)

    def connect(
        self, source: Population, target: Population, synapses: Synapses, bits: int, sign: str, port: str, lag: int
    ) -> None:
        """Add a projection; magnitude of what it adds is recorded in `incoming`."""
        graded = target.neuron.kind in GRADED
        exponent = self.integer(-2, 1) if graded else self.choice((0, 0, -2, -1, 1, 3, 6))
        if self.native and isinstance(synapses, Conv):
            exponent = 0
        slack = self.integer(0, self.period - 1) if self.chance() else 0
        delay = delay_for(lag, source.offset, target.offset, self.period, slack)
        if source.neuron.embedded:
            delay = max(delay, 2)
        delays = None
        if not isinstance(synapses, Conv) and self.integer(0, 4) == 0:
            delays = self.rng.integers(0, 4, size=synapses.weight.shape)
        name = f"{source.name}-{target.name}-{port}-{len(self.projections)}"
        self.projections.append(
            Projection(name, source.name, target.name, synapses, port, exponent, delay, delays, bits, sign)
        )
        positive, negative = synapses.sums()
        reach = self.magnitude[source.name] * int(max(positive.max(), -negative.min()))
        reach = reach << exponent if exponent >= 0 else (reach >> -exponent) + 4
        key = f"{target.name}/{port}"
        self.incoming[key] = self.incoming.get(key, 0) + reach * (1 if delays is None else 4)

    def width(self, kind: str) -> tuple[int, str]:
        """Weight bits and sign for a projection onto a neuron of that kind."""
        if self.native and kind == "compare":
            return self.integer(1, 8), "excitatory"
        sign = self.choice(("mixed", "mixed", "excitatory", "inhibitory"))
        return (self.integer(1, 3) if kind in GRADED else self.integer(1, 8)), sign

    def bias(self, shape: tuple[int, ...]) -> int | IntArray:
        if self.chance():
            return 0
        mantissa = self.parameter(-1000, 1000, shape)
        return mantissa << self.choice((0, 3, 6, 12) if not self.native else (0, 3, 6))

    def neuron(self, kind: str, shape: tuple[int, ...], offset: int) -> Neuron:
        """A neuron of that kind with random parameters."""
        du = self.choice((4095, 4095, 0, self.parameter(0, 4095, shape)))
        dv = self.choice((0, 0, 2048, 4095, self.parameter(0, 4095, shape)))
        top = self.choice((16, 256, 4096))
        if kind == "cuba-lif":
            if self.native:
                return CubaLif(du, dv, 64 * int(self.rng.integers(0, top)), self.bias(shape))
            reset = self.choice(RESETS)
            vth = self.parameter(-64, 64 * top, shape)
            amount = self.parameter(0, 64 * top, shape) if reset.startswith("subtract") else 0
            input_bias = self.parameter(-20, 20, shape) if self.chance() else 0
            shift = self.choice((6, 6, 0, 3))
            rest = self.parameter(-64, 64, shape) if reset.startswith("zero") and self.chance() else 0
            return CubaLif(
                du, dv, vth, self.bias(shape), input_bias, shift, reset,
                reset_amount=amount, reset_value=rest, refractory=self.choice((0, 0, 1, 3)),
            )  # fmt: skip
        if kind == "cuba-li":
            if self.native:
                return CubaLi(du, dv, self.bias(shape))
            emit = self.choice((0, 4, 8))
            input_bias = self.parameter(-20, 20, shape) if self.chance() else 0
            return CubaLi(du, dv, self.bias(shape), input_bias, self.choice((6, 0)), emit, self.integer(0, 10))
        if kind == "ternary-lif":
            low, high = self.parameter(-64 * top, 0, shape), self.parameter(0, 64 * top, shape)
            if self.native:
                low, high = (low // 64) * 64, (high // 64) * 64
            return TernaryLif(du, dv, low, high, self.bias(shape), 6 if self.native else self.choice((6, 0, 2)))
        if kind == "compare":
            if self.native:
                return Compare()
            return Compare(self.parameter(-4, 40, shape), self.parameter(-9, 9, shape) if self.chance() else 0)
        if kind == "relay":
            return Relay(self.integer(2, 16), self.chance(), self.choice((0, 0, 1, 5)))
        if kind == "sigma":
            return Sigma()
        spike_exp, state_exp = self.integer(0, 3), self.integer(0, 2)
        vth = self.parameter(0, 16 << (spike_exp + state_exp), shape)
        cum_error = self.chance()
        if kind == "delta":
            return Delta(vth, spike_exp, state_exp, cum_error)
        if kind == "sigma-delta":
            bias = 0 if self.native and offset else self.parameter(-8, 8, shape)
            return SigmaDelta(vth, bias, self.chance(), spike_exp, state_exp, cum_error)
        # a payload of one bit that overflows is cast to bool by Lava, where the oracle counts the overflow
        return ProductNeuron(
            self.integer(2 if self.native else 1, 12), self.chance(), self.integer(0, 3), self.choice((0, 0, 2))
        )

    def reach(self, name: str, neuron: Neuron) -> int:
        """Bound on |message| of a population from what may arrive in one update."""
        a = [self.incoming.get(f"{name}/{port}", 0) for port in neuron.ports]
        if isinstance(neuron, Relay):
            return a[0]
        if isinstance(neuron, ProductNeuron):
            return a[0] * a[1] + 1
        if isinstance(neuron, Sigma):
            return a[0] * self.steps
        if isinstance(neuron, Delta):
            return (a[0] << (neuron.spike_exp + neuron.state_exp)) * 4 * self.steps
        if isinstance(neuron, SigmaDelta):
            return (a[0] * self.steps + 8) * 4 * self.steps
        return max(neuron.message.high, -neuron.message.low, 1)


def shape_of(b: Builder) -> tuple[int, ...]:
    return b.choice(((1,), (2,), (5,), (7,), (2, 3), (1, 3, 3), (2, 4, 3), (4, 2, 2), (2, 1, 5)))
