"""The benchmark's networks: integer LIF layers with random even weights; thresholds such that each fires at 10 %."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ndeploy import sim
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Conv, Dense, Synapses

STEPS = 100
RATE = 0.1
DECAY = 410
"""dv: the membrane keeps 90 % a step; the current is not kept (du = 4095)."""


def dense(rng: np.random.Generator, n_in: int, n_out: int) -> Dense:
    return Dense((2 * rng.integers(-60, 64, size=(n_out, n_in))).astype(np.int16))


def conv(rng: np.random.Generator, c_in: int, c_out: int, size: int, kernel: int, stride: int, padding: int) -> Conv:
    weight = (2 * rng.integers(-60, 64, size=(c_out, c_in, kernel, kernel))).astype(np.int16)
    return Conv(weight, (c_in, size, size), (stride, stride), (padding, padding))


def pooled(rng: np.random.Generator, c_in: int, c_out: int, size: int) -> Conv:
    """Sum pooling by 2, then a 3 x 3 convolution, as the one convolution that they are."""
    weight = (2 * rng.integers(-60, 64, size=(c_out, c_in, 3, 3))).repeat(2, axis=2).repeat(2, axis=3).astype(np.int16)
    return Conv(weight, (c_in, size, size), (2, 2), (2, 2))


def layers(name: str) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], Synapses]]]:
    """The input's shape and each layer's shape and synapses."""
    rng = np.random.default_rng(1)
    if name == "a":
        sizes = [784, 512, 256, 10]
        return (784,), [((n,), dense(rng, m, n)) for m, n in pairwise(sizes)]
    if name == "c":
        return (256,), [((256,), dense(rng, 256, 256)) for _ in range(20)]
    first = conv(rng, 2, 16, 34, 5, 2, 1)
    second = conv(rng, 16, 16, 16, 3, 1, 1)
    third = pooled(rng, 16, 8, 16)
    weight = 2 * rng.integers(-60, 64, size=(256, 8, 4, 4))
    fourth = Dense(weight.repeat(2, axis=2).repeat(2, axis=3).reshape(256, 512).astype(np.int16))
    shapes = [(16, 16, 16), (16, 16, 16), (8, 8, 8), (256,), (10,)]
    return (2, 34, 34), list(zip(shapes, [first, second, third, fourth, dense(rng, 256, 10)], strict=True))


def network(name: str) -> Program:
    """Network "a", "b" or "c" with calibrated thresholds."""
    shape, rest = layers(name)
    populations = [Population("in", shape, Input())]
    projections: list[Projection] = []
    spikes = inputs(name, 2, seed=7)
    for i, (shape, synapses) in enumerate(rest):
        source = populations[-1]
        neuron = CubaLif(du=4095, dv=DECAY, vth=64)
        target = Population(f"layer{i}", shape, neuron, source.offset + 1)
        populations.append(target)
        projections.append(Projection(f"w{i}", source.name, target.name, synapses))

        def rate(vth: int) -> float:
            neuron = CubaLif(du=4095, dv=DECAY, vth=64 * vth)
            trial = (*populations[:-1], replace(populations[-1], neuron=neuron))
            result = sim.run(_program(name, trial, projections), {"in": spikes}, kernels="compiled")
            return float(result.counts.spikes[trial[-1].name].mean()) / (trial[-1].size * STEPS)

        low, high = 1, 2**16
        while high - low > max(1, low // 64):
            middle = (low + high) // 2
            low, high = (middle, high) if rate(middle) > RATE else (low, middle)
        populations[-1] = replace(target, neuron=CubaLif(du=4095, dv=DECAY, vth=64 * high))
    return _program(name, tuple(populations), projections)


def _program(name: str, populations: tuple[Population, ...], projections: list[Projection]) -> Program:
    ports = (InputPort("in"),), (OutputPort(populations[-1].name),)
    return Program(name, populations, tuple(projections), *ports, steps=STEPS, mode="pipelined")


def inputs(name: str, samples: int, seed: int = 0) -> npt.NDArray[np.int8]:
    """Random spikes at 10 %, (samples, steps, *shape)."""
    rng = np.random.default_rng(seed)
    return (rng.random((samples, STEPS, *layers(name)[0]), dtype=np.float32) < RATE).astype(np.int8)
