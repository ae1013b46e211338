"""Random convolutions of every geometry, compiled kernels against the list of synapses."""

from __future__ import annotations

import numpy as np
import pytest

from ndeploy import oracle, sim
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Conv


def case(rng: np.random.Generator) -> tuple[Program, dict[str, np.ndarray]]:
    groups = int(rng.integers(1, 3))
    shape = (groups * int(rng.integers(1, 3)), *(int(n) for n in rng.integers(3, 8, 2)))
    kernel, stride, padding = (tuple(int(n) for n in rng.integers(a, b, 2)) for a, b in ((1, 4), (1, 4), (0, 2)))
    top = int(rng.choice([2, 8, 128]))
    weight = rng.integers(-top, top, (groups * int(rng.integers(1, 4)), shape[0] // groups, *kernel)).astype(np.int16)
    conv = Conv(weight, shape, stride, padding, (1, 1), groups)
    program = Program(
        "conv",
        (
            Population("in", shape, Input(2)),
            Population("out", conv.out_shape, CubaLif(4095, 0, vth=539, bias=-93), offset=1),
        ),
        (Projection("conv", "in", "out", conv),),
        (InputPort("in"),),
        (OutputPort("out", "u"),),
        steps=int(rng.integers(1, 5)),
    )
    events = rng.random((2, program.steps, *shape)) < rng.choice([0.05, 0.6])
    return program, {"in": events * rng.integers(1, 4, events.shape)}


@pytest.mark.parametrize("seed", range(8))
def test_convolutions_of_every_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        program, messages = case(rng)
        found = sim.run(program, messages, trace=True, kernels="compiled", threads=1)
        expected = oracle.run(program, messages)
        for name, trace in expected.traces.items():
            np.testing.assert_array_equal(found.traces[name], trace, err_msg=repr(program.projections[0].synapses))


def test_images_one_column_wide_with_unequal_strides() -> None:
    """torch 2.13.0's oneDNN kernel is wrong for these; they must not reach it."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        conv = Conv(rng.integers(-8, 8, (4, 2, 3, 3)).astype(np.int16), (4, 5, 3), (1, 2), (1, 0), (1, 1), 2)
        program = Program(
            "column",
            (
                Population("in", (4, 5, 3), Input()),
                Population("out", conv.out_shape, CubaLif(4095, 0, vth=64), offset=1),
            ),
            (Projection("conv", "in", "out", conv),),
            (InputPort("in"),),
            (OutputPort("out", "u"),),
            steps=3,
        )
        messages = {"in": rng.integers(0, 2, (3, 3, 4, 5, 3))}
        found = sim.run(program, messages, kernels="compiled", threads=1)
        np.testing.assert_array_equal(found.outputs["out"], oracle.run(program, messages).outputs["out"])
