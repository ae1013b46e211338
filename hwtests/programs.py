"""Small programs that go to the edges of Loihi's fields: the first things to compare between any two executions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import CubaLi, CubaLif, Input, Neuron
from ndeploy.synapses import Conv, Dense, Synapses

STEPS = 24


def _program(
    name: str,
    neuron: Neuron,
    synapses: Synapses,
    shape: tuple[int, ...],
    *,
    exponent: int = 0,
    delays: IntArray | None = None,
) -> Program:
    """in -> a, one model step a chip step."""
    source = (synapses.n_in,) if not isinstance(synapses, Conv) else synapses.in_shape
    return Program(
        name,
        (Population("in", source, Input()), Population("a", shape, neuron, offset=1)),
        (Projection("w", "in", "a", synapses, exponent=exponent, delays=delays),),
        (InputPort("in"),),
        (OutputPort("a", "v", "last"),),
        STEPS,
    )


def _dense(values: list[list[int]]) -> Dense:
    return Dense(np.array(values, dtype=np.int16))


EXTREMES = [[127, 127, 127, 127], [-128, -128, -128, -128], [127, -128, 64, -1], [1, 0, -1, 2]]


def programs() -> Mapping[str, Program]:
    """By name: weights, exponents, thresholds, biases, decays, delays and refractory periods at their limits."""
    made = [
        _program("weights", CubaLif(du=4095, dv=0, vth=64 * 200), _dense(EXTREMES), (4,)),
        _program("highest-exponent", CubaLif(du=4095, dv=0, vth=131071 * 64), _dense(EXTREMES), (4,), exponent=7),
        _program("lowest-exponent", CubaLif(du=4095, dv=0, vth=64), _dense(EXTREMES), (4,), exponent=-7),
        _program("lowest-threshold", CubaLif(du=4095, dv=0, vth=0), _dense(EXTREMES), (4,)),
        _program("bias", CubaLif(du=0, dv=4095, vth=4095 * 128, bias=4095 * 128), _dense(EXTREMES), (4,)),
        _program("fast-decays", CubaLif(du=4094, dv=4095, vth=6400), _dense(EXTREMES), (4,)),
        _program("slow-decays", CubaLif(du=0, dv=1, vth=64 * 5000), _dense(EXTREMES), (4,)),
        _program("refractory", CubaLif(du=4095, dv=0, vth=640, refractory=5), _dense(EXTREMES), (4,)),
        _program("readout", CubaLi(du=2048, dv=128), _dense(EXTREMES), (4,)),
        _program("delays", CubaLif(du=4095, dv=0, vth=640), _dense(EXTREMES), (4,), delays=np.arange(16).reshape(4, 4)),
        _program(
            "convolution",
            CubaLif(du=4095, dv=64, vth=64 * 100),
            Conv(np.arange(-36, 36, dtype=np.int16).reshape(4, 2, 3, 3), (2, 5, 5), stride=(2, 1), padding=(1, 1)),
            (4, 3, 5),
        ),
    ]
    dense = _dense(EXTREMES)
    coincidence = Program(
        "coincidence",
        (
            Population("in", (4,), Input()),
            Population("a", (4,), CubaLif(du=4095, dv=0, vth=640), offset=1),
            Population("b", (16,), CubaLif(du=4095, dv=0, vth=64), offset=3),
        ),
        (Projection("w", "in", "a", dense),),
        (InputPort("in"),),
        (OutputPort("b"),),
        STEPS,
        products=(Product("x", "a", "a", "b", (4,), (4,), "i,j->ij"),),
    )
    return {program.name: program for program in (*made, coincidence)}


def messages(program: Program, samples: int = 3) -> dict[str, IntArray]:
    """Silence, every input at every step, and random spikes."""
    rng = np.random.default_rng(0)
    found: dict[str, IntArray] = {}
    for port in program.inputs:
        shape = (samples, program.steps, *program.population(port.population).shape)
        spikes = (rng.random(shape) < 0.3).astype(np.int64)
        spikes[0], spikes[1 % samples] = 0, 1
        found[port.population] = spikes
    return found
