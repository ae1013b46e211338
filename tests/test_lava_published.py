"""One LIF neuron as published with NIR: Lava's CPU trace and a Loihi chip's, row by row.

Columns: input spike, membrane, output spike. Constants of the published run (facts: weight 10 << 6, dv = 163,
vth = 25 << 6): the neuron sees an input spike one row later, the delay of its projection.
"""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_path import fixture
from lava_cases import assert_equal_to_oracle, needs_lava
from ndeploy.targets._lava.plan import describe
from ndeploy.targets._lava.session import Session

from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Dense

pytestmark = needs_lava


def published(name: str) -> IntArray:
    return np.loadtxt(fixture("nir/lif") / name, delimiter=",").astype(np.int64)


def neuron(steps: int) -> Program:
    return Program(
        "published",
        (Population("in", (1,), Input()), Population("lif", (1,), CubaLif(4095, 163, 25 << 6), offset=1)),
        (Projection("synapse", "in", "lif", Dense(np.array([[10]], dtype=np.int16))),),
        (InputPort("in"),),
        (OutputPort("lif", "v"),),
        steps,
    )


def rows(program: Program, spikes: IntArray) -> tuple[IntArray, IntArray]:
    """Membrane and output by published row, from oracle and Lava, which must agree."""
    with Session(stall=60) as session:
        result = assert_equal_to_oracle(session, program, {"in": spikes.reshape(1, -1, 1)})
    membrane = np.concatenate(([0], result.traces["state/lif/v"].reshape(-1)[:-1]))
    output = np.concatenate(([0], result.traces["spikes/lif"].reshape(-1)[:-1]))
    return membrane, output


def test_lava_cpu_trace() -> None:
    trace = published("lif_lava_cpu_fixed.csv")
    program = neuron(len(trace))
    assert [a.process for a in describe(program)] == ["RingBuffer", "LIFReset", "Dense"]
    membrane, output = rows(program, trace[:, 0])
    assert np.array_equal(output, trace[:, 2])
    assert np.array_equal(membrane, trace[:, 1])
    assert output.sum() == 4


def test_loihi_chip_trace() -> None:
    trace = published("lif_lava_loihi_fixed.csv")
    membrane, output = rows(neuron(len(trace)), trace[:, 0])
    assert np.array_equal(output, trace[:, 2])
    differing = np.flatnonzero(membrane != trace[:, 1])
    # the chip reads 128 in the step of a spike, where the arithmetic says 0
    assert np.array_equal(differing, np.flatnonzero(output))
    assert (trace[differing, 1] == 128).all()


@pytest.mark.parametrize("name", ["lif_lava_cpu_fixed.csv"])
def test_a_wrong_constant_shows(name: str) -> None:
    """The comparison above can fail: another decay gives another trace."""
    trace = published(name)
    base = neuron(len(trace))
    other = CubaLif(4095, 164, 25 << 6)
    program = Program(
        "other", (base.populations[0], Population("lif", (1,), other, 1)), base.projections, base.inputs, base.outputs,
        base.steps,
    )  # fmt: skip
    membrane, _ = rows(program, trace[:, 0])
    assert (membrane != trace[:, 1]).any()
