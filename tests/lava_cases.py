"""What the tests of the Lava backend share: small programs, and the comparison with tolerance zero."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from ndeploy.targets._lava.runner import LavaRun, execute
from ndeploy.targets._lava.session import Session

from ndeploy import oracle
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.ir.result import RunResult
from ndeploy.neurons import (
    Affine,
    Delta,
    Gate,
    Input,
    LayerNorm,
    Neuron,
    Register,
    Sigma,
    Silu,
    Softmax,
    Synchrony,
)
from ndeploy.synapses import Dense, Synapses

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="lava-nc is not installed (ndeploy doctor says how)"
)
COUNTS = ("synaptic_ops", "spikes", "neuron_updates", "embedded_ops")


def mismatches(expected: RunResult, found: RunResult) -> dict[str, int]:
    """Values that differ, by trace and count; a trace that only one has counts whole."""
    differing = {}
    for key in expected.traces.keys() | found.traces.keys():
        one, other = expected.traces.get(key), found.traces.get(key)
        differing[key] = -1 if one is None or other is None else int((one != other).sum())
    for kind in COUNTS:
        one_count, other_count = getattr(expected.counts, kind), getattr(found.counts, kind)
        for name in one_count.keys() | other_count.keys():
            same = name in one_count and name in other_count and np.array_equal(one_count[name], other_count[name])
            differing[f"count of {kind}/{name}"] = 0 if same else 1
    for name in expected.outputs:
        differing[f"output/{name}"] = int((expected.outputs[name] != found.outputs[name]).sum())
    if expected.predictions is not None:
        differing["predictions"] = int((expected.predictions != found.predictions).sum())
    return {key: n for key, n in differing.items() if n}


def assert_equal_to_oracle(
    session: Session, program: Program, messages: dict[str, IntArray], modes: tuple[str, ...] = ("native", "fused")
) -> RunResult:
    """Run in Lava; every value of every population at every model step, and every count, is the oracle's."""
    expected = oracle.run(program, messages)
    for mode in modes:
        assert not mismatches(expected, execute(session, program, messages, LavaRun(mode))), mode
    return expected


def chain(
    neuron: Neuron,
    synapses: Synapses | None = None,
    *,
    shape: tuple[int, ...] = (6,),
    source: Input | None = None,
    source_shape: tuple[int, ...] = (5,),
    steps: int = 12,
    period: int = 1,
    exponent: int = 0,
    delay: int = 1,
    delays: IntArray | None = None,
    weight_bits: int = 8,
    sign: str = "mixed",
    offset: int = 1,
    seed: int = 0,
) -> Program:
    """input -> neuron -> LIF-free readout by unit weights: messages of the neuron are delivered as well as sent."""
    rng = np.random.default_rng(seed)
    n_out, n_in = int(np.prod(shape)), int(np.prod(source_shape))
    low, high = {
        "mixed": (-(1 << (weight_bits - 1)), 1 << (weight_bits - 1)),
        "excitatory": (0, 1 << weight_bits),
        "inhibitory": (1 - (1 << weight_bits), 1),
    }[sign]
    if synapses is None:
        synapses = Dense(rng.integers(low, high, (n_out, n_in)).astype(np.int16))
    first = Projection("first", "in", "cell", synapses, neuron.ports[0], exponent, delay, delays, weight_bits, sign)
    others = tuple(
        Projection(port, "in", "cell", Dense(rng.integers(low, high, (n_out, n_in)).astype(np.int16)), port)
        for port in neuron.ports[1:]
    )
    return Program(
        "chain",
        (Population("in", source_shape, source or Input()), Population("cell", shape, neuron, offset)),
        (first, *others),
        (InputPort("in"),),
        (OutputPort("cell", "message" if neuron.message.bits else "v", "sum"),),
        steps,
        period=period,
    )


def random_messages(program: Program, samples: int = 3, seed: int = 1, density: float = 0.5) -> dict[str, IntArray]:
    """Random messages over the whole payload."""
    rng = np.random.default_rng(seed)
    messages = {}
    for port in program.inputs:
        population = program.population(port.population)
        shape = (samples, program.steps, *population.shape)
        payload = population.neuron.message
        value = rng.integers(payload.low, payload.high + 1, shape)
        messages[population.name] = np.where(rng.random(shape) < density, value, 0)
    return messages


_each = np.arange(6)
NEW_KINDS: dict[str, Neuron] = {
    "affine": Affine(9, True, 300 + _each, 9, 7 * _each - 20),
    "relu": Affine(7, False, 700, 10, -3),
    "gate": Gate(9, True, _each - 2, 5, 200, 4, 40_000, 17 + _each % 2),
    "silu": Silu(10, True, -_each, 90, 2, 30_000, 15),
    "layer norm": LayerNorm(
        8,
        (2, 3),
        1,
        epsilon=40,
        bias=_each,
        multiplier=3000,
        shift=8,
        gain=90 + _each,
        offset=-_each << 9,
        gain_shift=13,
    ),
    "layer norm over all": LayerNorm(12, (6,), 0, epsilon=1, multiplier=1, gain=200, gain_shift=11),
    "softmax": Softmax(8, (3, 2), multiplier=40_000, shift=9),
    "synchrony": Synchrony(
        12, 4096 - 300 * _each, (np.arange(1, 25).reshape(4, 6) * 900), exponent=9, start=50 * _each - 60, shift=10
    ),
    "register": Register(20, start=_each * 11 - 17),
    "sigma from a start": Sigma(20, start=_each * 100),
    "delta from a start": Delta(vth=60, bits=16, start=_each * 40 - 90),
}
"""What a graded network is made of; populations of six neurons."""


def static_attention(realisation: str = "parallel") -> Program:
    """Keys and values of a static input, made once; queries of every model step; scores, softmax, weighted values."""
    rng = np.random.default_rng(11)

    def weights(n_out: int, n_in: int) -> Dense:
        return Dense(rng.integers(-40, 41, (n_out, n_in)).astype(np.int16))

    heads, width, tokens = 2, 3, 4
    populations = (
        Population("x", (5,), Input(6, signed=True), updates=1),
        Population("tick", (3,), Input(4, signed=True)),
        Population("k", (heads, width, tokens), Affine(8, True, 400, 9), 2, updates=1),
        Population("v", (heads, width, tokens), Affine(8, True, 300, 9), 3, updates=1),
        Population("q", (heads, width), Affine(9, True, 900, 9), 1),
        Population("attention", (heads, tokens), Softmax(8, (heads, tokens), 30_000, 14), 10),
        Population("context", (heads, width), Affine(10, True, 700, 10), 18),
        Population("z", (6,), Register(20, start=_each * 9 - 20), 0),
    )
    projections = (
        Projection("x-k", "x", "k", weights(24, 5)),
        Projection("x-v", "x", "v", weights(24, 5), delay=2),
        Projection("tick-q", "tick", "q", weights(6, 3)),
        Projection("z-q", "z", "q", weights(6, 6)),
        Projection("context-z", "context", "z", Dense(np.eye(6, dtype=np.int16)), delay=2, unit=True),
    )
    stream = {"streamed": ("d", "l")}.get(realisation, ("", ""))
    products = (
        Product(
            "scores", "q", "k", "attention", (heads, width), (heads, width, tokens), "hd,hdl->hl",
            exponent=2, delay=5 if realisation == "streamed" else 2, realisation=realisation, stream=stream[0],
        ),
        Product(
            "mixed", "attention", "v", "context", (heads, tokens), (heads, width, tokens), "hl,hdl->hd",
            exponent=4, delay=6 if realisation == "streamed" else 2, realisation=realisation, stream=stream[1],
        ),
    )  # fmt: skip
    return Program(
        "static attention",
        populations,
        projections,
        (InputPort("x"), InputPort("tick")),
        (OutputPort("context", "message", "last"),),
        6,
        products,
        period=20,
    )
