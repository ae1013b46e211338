"""What the tests of the Lava backend share: small programs, and the comparison with tolerance zero."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from ndeploy.targets._lava.runner import LavaRun, execute
from ndeploy.targets._lava.session import Session

from ndeploy import oracle
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import RunResult
from ndeploy.neurons import Input, Neuron
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
            differing[f"{kind}/{name}"] = 0 if same else 1
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
