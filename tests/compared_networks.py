"""Networks with what `ndeploy compare` tells apart, compiled by hand, and programs with one thing planted in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from networks import chain, quantise

from ndeploy import wellformed
from ndeploy.data import Data
from ndeploy.divergence import exact
from ndeploy.divergence.engines import FloatEngine, ProgramEngine
from ndeploy.graph.write import nir_bytes
from ndeploy.ir import network as net
from ndeploy.ir.program import Program, lag
from ndeploy.neurons import CubaLif, Input

META = {"target": "lava"}
RECORD = {
    "options": {"bits": 8},
    "settings": {name: {"value": 1, "from": "--set"} for name in ("input_bits", "input_scale")},
    "calibration": None,
}
"""What an artifact records of `compiled` and can be compiled again from, but for the calibration data."""


def network(seed: int = 1, **semantics: Any) -> net.Network:
    """Ten inputs, a recurrent layer with a current, a skip, a readout of four neurons."""
    rng = np.random.default_rng(seed)
    settings: dict[str, Any] = {"dt": 1e-3, "integrator": "euler", "reset": "subtract", "compare": "gt"} | semantics

    def linear(n_out: int, n_in: int, size: float) -> net.Linear:
        return net.Linear(rng.normal(0, size, (n_out, n_in)), rng.normal(0.02, 0.02, n_out))

    def cuba(n: int) -> net.CubaLIF:
        one = np.ones(n)
        return net.CubaLIF(4e-3 * one, 7e-3 * one, one, 0 * one, 0.4 * one, 0 * one, one)

    one = np.ones(4)
    nodes = (
        ("input", net.Input((10,))),
        ("fc1", linear(12, 10, 0.9)),
        ("hidden", cuba(12)),
        ("fc2", linear(4, 12, 1.4)),
        ("out", net.LIF(6e-3 * one, one, 0 * one, 0.5 * one, 0 * one)),
        ("output", net.Output((4,))),
    )
    made = chain(*nodes, semantics=net.Semantics(**settings))
    more = {"back": linear(12, 12, 0.5), "skip": linear(4, 10, 0.4)}
    edges = (("hidden", "back"), ("back", "hidden"), ("input", "skip"), ("skip", "out"))
    return replace(made, nodes={**made.nodes, **more}, edges=made.edges + edges, steps=24)


def delayed() -> tuple[net.Network, Data]:
    """Ten inputs over synapses with delays of their own to eight neurons, and four behind them: all in integers."""
    rng = np.random.default_rng(5)

    def weights(n_out: int, n_in: int, delays: bool) -> net.Linear:
        late = rng.integers(0, 5, (n_out, n_in)) if delays else None
        return net.Linear(rng.integers(-40, 90, (n_out, n_in)) * 1.0, None, net.IntegerWeights(8, 0, "mixed", late))

    nodes = (
        ("input", net.Input((10,))),
        ("fc1", weights(8, 10, True)),
        ("hidden", net.IntegerNeuron(CubaLif(du=1024, dv=512, vth=200 << 6), (8,))),
        ("fc2", weights(4, 8, False)),
        ("out", net.IntegerNeuron(CubaLif(du=4095, dv=512, vth=150 << 6), (4,))),
        ("output", net.Output((4,))),
    )
    return replace(chain(*nodes), steps=24), data()


def skipping() -> tuple[net.Network, Data]:
    """Ten inputs to a layer of eight neurons and on to four; a skip that waits three model steps leads past them."""
    rng = np.random.default_rng(5)

    def lif(n: int) -> net.LIF:
        return net.LIF(7e-3 * np.ones(n), np.ones(n), np.zeros(n), 0.3 * np.ones(n), np.zeros(n))

    nodes = (
        ("input", net.Input((10,))),
        ("fc1", net.Linear(rng.normal(0, 0.8, (8, 10)), np.zeros(8))),
        ("hidden", lif(8)),
        ("fc2", net.Linear(rng.normal(0, 1.0, (4, 8)), np.zeros(4))),
        ("out", lif(4)),
        ("output", net.Output((4,))),
    )
    made = chain(*nodes, semantics=net.Semantics(dt=1e-3, integrator="euler", reset="subtract", compare="gt"))
    more = {"wait": net.Delay(3e-3 * np.ones(10)), "skip": net.Linear(rng.normal(0, 0.6, (4, 10)), np.zeros(4))}
    edges = (("input", "wait"), ("wait", "skip"), ("skip", "out"))
    return replace(made, nodes={**made.nodes, **more}, edges=made.edges + edges, steps=24), data()


def data(samples: int = 12, seed: int = 2) -> Data:
    """Spikes, with labels."""
    rng = np.random.default_rng(seed)
    return Data((rng.random((samples, 24, 10)) < 0.3).astype(np.uint8), rng.integers(0, 4, samples))


def compiled(made: net.Network, bits: int = 8) -> Program:
    """Quantised for Lava with `bits`."""
    return quantise(made, 24, bits=bits, x=data().x)[1].program


def float_engine(made: net.Network, program: Program) -> FloatEngine:
    """The engine against the float network, read back from its bytes."""
    numbers, why = exact.beside(exact.read(nir_bytes(made)), program, META)
    assert numbers is not None, why
    return FloatEngine(program, numbers)


def program_engine(program: Program, reference: Program) -> ProgramEngine:
    """The engine against another program."""
    return ProgramEngine(program, reference, 1)


def with_neuron(program: Program, name: str, **fields: Any) -> Program:
    """The program with fields of one population's neuron changed."""
    populations = (replace(p, neuron=replace(p.neuron, **fields)) if p.name == name else p for p in program.populations)
    return replace(program, populations=tuple(populations))


def with_projection(program: Program, name: str, **fields: Any) -> Program:
    """The program with fields of one projection changed."""
    projections = (replace(q, **fields) if q.name == name else q for q in program.projections)
    return replace(program, projections=tuple(projections))


def flipped(program: Program, name: str, at: tuple[int, ...], bit: int = 6) -> Program:
    """The program with one bit of one weight flipped."""
    q = next(x for x in program.projections if x.name == name)
    weight = q.synapses.weight.copy()
    weight[at] = np.uint8(int(weight[at]) & 0xFF ^ 1 << bit).astype(np.int8)
    return with_projection(program, name, synapses=replace(q.synapses, weight=weight))


def plantings(program: Program) -> Iterator[tuple[str, str, Program]]:
    """(cause, where, program with it): one of each kind in every layer."""
    for cause, where, planted in _plantings(program):
        try:
            wellformed.check(planted)
        except ValueError:  # a loop without a delay
            continue
        yield cause, where, planted


def _plantings(program: Program) -> Iterator[tuple[str, str, Program]]:
    for q in program.projections:
        if q.unit:
            continue
        for part in (3, 2, 5, 7):
            shape = q.synapses.weight.shape
            at = tuple(int(i) for i in np.unravel_index(q.synapses.weight.size // part, shape))
            yield "weights", f"{q.name} {list(at)}", flipped(program, q.name, at)
        yield "delay", q.name, with_projection(program, q.name, delay=q.delay + program.period)
        if lag(program, q.source, q.target, q.delay) > 0:
            yield "delay", f"{q.name}, dropped", with_projection(program, q.name, delay=q.delay - program.period)
    for p in program.populations:
        n = p.neuron
        if not isinstance(n, CubaLif):
            continue
        vth = np.asarray(n.vth)
        yield "decay", f"membrane of {p.name}", with_neuron(program, p.name, dv=_integers(np.asarray(n.dv) * 9 // 10))
        if np.min(n.du) < 4095:
            du = _integers(np.asarray(n.du) * 9 // 10)
            yield "decay", f"current of {p.name}", with_neuron(program, p.name, du=du)
        yield "threshold", p.name, with_neuron(program, p.name, vth=_integers(vth * 21 // 20))
        yield "bias", p.name, with_neuron(program, p.name, bias=_integers(np.asarray(n.bias) + vth // 20))
        reset = "zero" if n.reset == "subtract" else "subtract"
        yield "reset", p.name, with_neuron(program, p.name, reset=reset, reset_amount=_integers(vth), reset_value=0)
    for p in program.populations:
        if isinstance(p.neuron, Input) and p.neuron.bits > 1:
            yield "activation", p.name, with_neuron(program, p.name, bits=p.neuron.bits - 1)


def _integers(value: Any) -> Any:
    array = np.asarray(value, dtype=np.int64)
    return int(array) if array.ndim == 0 else array
