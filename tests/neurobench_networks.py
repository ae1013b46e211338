"""Small linear, convolutional and recurrent programs with zero weights, and their recorded runs."""

from __future__ import annotations

import numpy as np

from ndeploy import oracle
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Conv, Dense, Synapses

STEPS, SAMPLES = 5, 7


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return (rng.integers(-40, 60, shape) * (rng.random(shape) < 0.7)).astype(np.int16)


def _lif(vth: int = 60, dv: int = 512) -> CubaLif:
    return CubaLif(du=4095, dv=dv, vth=vth, shift=0)


def _program(name: str, populations: list[Population], layers: list[tuple[str, str, Synapses]]) -> Program:
    projections = tuple(
        Projection(f"{source}->{target}", source, target, synapses) for source, target, synapses in layers
    )
    last = populations[-1].name
    return Program(name, tuple(populations), projections, (InputPort("in"),), (OutputPort(last),), STEPS)


def linear() -> Program:
    """Two dense layers of IF neurons."""
    rng = np.random.default_rng(1)
    return _program(
        "linear",
        [Population("in", (20,), Input()), Population("a", (15,), _lif(dv=0), 1), Population("b", (6,), _lif(dv=0), 2)],
        [("in", "a", Dense(_weights(rng, 15, 20))), ("a", "b", Dense(_weights(rng, 6, 15)))],
    )


def convolutional() -> Program:
    """A graded image; padding, stride, dilation and groups; a dense layer last."""
    rng = np.random.default_rng(2)
    first = Conv(_weights(rng, 6, 2, 3, 3), (2, 9, 8), stride=(2, 1), padding=(1, 1))
    second = Conv(_weights(rng, 4, 3, 2, 3), first.out_shape, dilation=(2, 1), groups=2, padding=(0, 2))
    return _program(
        "convolutional",
        [
            Population("in", (2, 9, 8), Input(bits=4)),
            Population("a", first.out_shape, _lif(400), 1),
            Population("b", second.out_shape, _lif(), 2),
            Population("c", (5,), _lif(), 3),
        ],
        [("in", "a", first), ("a", "b", second), ("b", "c", Dense(_weights(rng, 5, second.n_out)))],
    )


def recurrent() -> Program:
    """A dense layer that feeds itself a step later."""
    rng = np.random.default_rng(3)
    return _program(
        "recurrent",
        [Population("in", (8,), Input()), Population("a", (12,), _lif(), 1), Population("b", (3,), _lif(), 2)],
        [
            ("in", "a", Dense(_weights(rng, 12, 8))),
            ("a", "a", Dense(_weights(rng, 12, 12))),
            ("a", "b", Dense(_weights(rng, 3, 12))),
        ],
    )


NETWORKS = {"linear": linear, "convolutional": convolutional, "recurrent": recurrent}


def record(program: Program) -> tuple[dict[str, IntArray], Activity]:
    """Traces of a run on random messages, and what they add up to (no arrivals: nothing here reads them)."""
    rng = np.random.default_rng(4)
    port = program.population("in")
    x = rng.integers(0, port.neuron.message.high + 1, (SAMPLES, STEPS, *port.shape)) * (
        rng.random((SAMPLES, STEPS, *port.shape)) < 0.5
    )
    traces = dict(oracle.run(program, {"in": x.astype(np.int64)}).traces)
    return traces, activity_of(program, traces)


def activity_of(program: Program, traces: dict[str, IntArray]) -> Activity:
    """Messages counted from traces."""
    sent = {p.name: (traces[f"spikes/{p.name}"] != 0).sum(axis=0) for p in program.populations}
    samples = len(next(iter(traces.values())))
    return Activity(samples, {name: n.reshape(len(n), -1).astype(np.int64) for name, n in sent.items()}, {})
