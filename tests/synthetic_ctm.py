"""A Program with the shape of a Continuous Thought Machine and random weights: for tests and for timing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import Affine, Gate, Input, LayerNorm, Neuron, Register, Softmax, Synchrony
from ndeploy.synapses import Conv, Dense, Sparse, Synapses


@dataclass(frozen=True)
class Size:
    """neurons D, memory M, hidden units of a neuron-level model H, attention width, heads, tokens, pairs, ticks."""

    neurons: int = 8
    memory: int = 3
    hidden: int = 2
    width: int = 4
    heads: int = 2
    tokens: int = 3
    pairs: int = 6
    classes: int = 3
    ticks: int = 5
    bits: int = 8
    wide: int = 12


PARITY = Size(128, 8, 4, 32, 4, 9, 78, 18, 15)
DIGITS = Size(128, 10, 8, 64, 4, 16, 64, 10, 12)


def scale(std: float, target: float) -> tuple[int, int]:
    """(multiplier, shift) that bring a sum of that spread to the target's."""
    shift = max(0, math.floor(math.log2(2**15 * std / target)))
    return max(1, round(target / std * 2**shift)), shift


class Builder:
    """Populations and projections, each population some chip steps after the one before it."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self.rng = np.random.default_rng(seed)
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.offset: dict[str, int] = {}
        self.period = 64

    def add(self, name: str, shape: tuple[int, ...], neuron: Neuron, updates: int | None = None) -> None:
        self.offset[name] = 3 * len(self.populations)
        self.populations.append(Population(name, shape, neuron, self.offset[name], updates=updates))

    def connect(self, source: str, target: str, synapses: Synapses, port: str = "in", lag: int = 0) -> None:
        delay = lag * self.period + self.offset[target] - self.offset[source]
        name = f"{source}-{target}-{port}"
        self.projections.append(
            Projection(name, source, target, synapses, port, 0, delay, unit=isinstance(synapses, Sparse))
        )

    def weights(self, *shape: int) -> Any:
        return np.clip(np.rint(self.rng.normal(0, 40, size=shape)), -127, 127).astype(np.int16)

    def dense(self, source: str, target: str, n_in: int, n_out: int, port: str = "in") -> None:
        self.connect(source, target, Dense(self.weights(n_out, n_in)), port)

    def selection(self, source: str, target: str, index: IntArray, n_in: int, port: str, lag: int = 0) -> None:
        n = len(index)
        unit = Sparse(np.ones(n, dtype=np.int16), np.arange(n), index, n_in, n)
        self.connect(source, target, unit, port, lag)

    def pairs(self, name: str, source: str) -> None:
        """A synchronisation of random pairs."""
        s = self.size
        n = s.pairs
        factor = np.where(self.rng.random(n) < 0.5, 4096, self.rng.integers(2000, 4096, n))
        table = np.rint(20000 / np.sqrt(np.arange(1, s.ticks + 1)))[:, None] * np.ones((1, n))
        spread = (1 << (s.bits - 3)) ** 2 * 20000.0
        shift = max(0, round(math.log2(spread / (1 << (s.wide - 3)))))
        start = self.rng.integers(-50, 50, n)
        self.add(name, (n,), Synchrony(s.wide, factor, table.astype(np.int64), 0, start, shift))
        for port in ("left", "right"):
            self.selection(source, name, self.rng.integers(0, s.neurons, n), s.neurons, port)

    def gate(
        self, name: str, shape: tuple[int, ...], fan_in: float, spread: float, target: float | None = None
    ) -> None:
        """spread: of one message that arrives."""
        bits = self.size.bits
        std = 40 * spread * math.sqrt(fan_in)
        n = math.prod(shape)
        bias, gate_bias = (self.rng.integers(-int(std), int(std) + 1, size=shape) for _ in range(2))
        multiplier, shift = scale(std, target or (1 << (bits - 2)))
        gate_multiplier, gate_shift = scale(std, 4096.0)
        wide = np.full(n, multiplier).reshape(shape)
        self.add(name, shape, Gate(bits, True, bias, gate_bias, gate_multiplier, gate_shift, wide, shift))


def synthetic(size: Size = Size(), seed: int = 0) -> Program:
    """tokens -> kv -> k, v; then, every tick, synch_action .. z; logits are read from synch_out."""
    s = size
    b = Builder(s, seed)
    top, wide = float(1 << (s.bits - 3)), float(1 << (s.wide - 3))
    e, n = s.width, s.tokens
    per_head = e // s.heads
    b.add("x", (e, n), Input(s.bits, True), updates=1)
    multiplier, shift = scale(40 * top * math.sqrt(e), 1000.0)
    gain = scale(4096.0, top)
    b.add("kv", (e, n), LayerNorm(s.bits, (e, n), 0, 1, 0, multiplier, shift, gain[0], 0, gain[1]), updates=1)
    b.connect("x", "kv", Conv(b.weights(e, e, 1, 1), (e, n, 1)))
    for name in ("k", "v"):
        multiplier, shift = scale(40 * top * math.sqrt(e), top)
        b.add(name, (e, n), Affine(s.bits, True, multiplier, shift, b.rng.integers(-99, 99, (e, 1))), updates=1)
        b.connect("kv", name, Conv(b.weights(e, e, 1, 1), (e, n, 1)))
    b.add("z", (s.neurons,), Register(s.bits, b.rng.integers(-int(top), int(top) + 1, s.neurons)))
    b.pairs("synch_action", "z")
    b.add("q", (e,), Affine(s.wide, True, *scale(40 * wide * math.sqrt(s.pairs), wide), 17))
    b.dense("synch_action", "q", s.pairs, e)
    b.add("attention", (s.heads, n), Softmax(s.bits, (s.heads, n), *scale(wide * top * math.sqrt(per_head), 4096.0)))
    b.add("context", (e,), Affine(s.bits, True, *scale(256 * top / 2, top), 5))
    b.gate("synapse", (s.neurons,), e + s.neurons, top)
    for port in b.populations[-1].neuron.ports:
        b.dense("context", "synapse", e, s.neurons, port)
        b.dense("z", "synapse", s.neurons, s.neurons, port)
    gain = scale(4096.0, top)
    gains = np.full(s.neurons, gain[0]) + b.rng.integers(-99, 99, s.neurons)
    b.add("pre", (s.neurons,), LayerNorm(s.bits, (s.neurons,), 0, 9, 0, 64, 0, gains, 12, gain[1]))
    b.selection("synapse", "pre", np.arange(s.neurons), s.neurons, "in")
    start = b.rng.integers(-int(top), int(top) + 1, (s.neurons, s.memory))
    start[:, -1] = 0
    b.add("trace", (s.neurons, s.memory), Register(s.bits, start))
    cells = np.arange(s.neurons * s.memory).reshape(s.neurons, s.memory)
    ones = np.ones(cells[:, 1:].size, dtype=np.int16)
    moved = Sparse(ones, cells[:, :-1].reshape(-1), cells[:, 1:].reshape(-1), cells.size, cells.size)
    b.connect("trace", "trace", moved, lag=1)
    ones = np.ones(s.neurons, dtype=np.int16)
    b.connect("pre", "trace", Sparse(ones, cells[:, -1].copy(), np.arange(s.neurons), s.neurons, cells.size))
    b.gate("hidden", (s.neurons * s.hidden, 1), s.memory, top)
    for port in ("in", "gate"):
        filters = Conv(b.weights(s.neurons * s.hidden, 1, s.memory, 1), (s.neurons, s.memory, 1), groups=s.neurons)
        b.connect("trace", "hidden", filters, port)
    b.gate("post", (s.neurons, 1), s.hidden, top)
    for port in ("in", "gate"):
        one = Conv(b.weights(s.neurons, s.hidden, 1, 1), (s.neurons * s.hidden, 1, 1), groups=s.neurons)
        b.connect("hidden", "post", one, port)
    b.selection("post", "z", np.arange(s.neurons), s.neurons, "in", lag=1)
    b.pairs("synch_out", "post")
    b.add("logits", (s.classes,), Affine(16, True, *scale(40 * wide * math.sqrt(s.pairs), 4000.0), 3))
    b.dense("synch_out", "logits", s.pairs, s.classes)
    o = b.offset
    products = (
        Product(
            "scores", "q", "k", "attention", (s.heads, per_head), (s.heads, per_head, n), "hd,hdl->hl",
            delay=o["attention"] - o["q"], realisation="embedded",
        ),
        Product(
            "mixed", "attention", "v", "context", (s.heads, n), (s.heads, per_head, n), "hl,hdl->hd",
            delay=o["context"] - o["attention"],
        ),
    )  # fmt: skip
    return Program(
        "ctm", tuple(b.populations), tuple(b.projections), (InputPort("x"),), (OutputPort("logits", decode="last"),),
        s.ticks, products, b.period,
    )  # fmt: skip


def samples(program: Program, count: int, seed: int = 0) -> dict[str, IntArray]:
    """Static messages of the input."""
    rng = np.random.default_rng(seed)
    population = program.populations[0]
    high = population.neuron.message.high
    one = np.clip(np.rint(rng.normal(0, high / 4, (count, 1, *population.shape))), -high, high).astype(np.int64)
    return {"x": np.repeat(one, program.steps, axis=1)}
