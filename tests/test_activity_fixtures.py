"""Activity of trained networks: the simulator's sums beside those found synapse by synapse from its own messages, which
other tests hold against the oracle's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from fixtures_path import fixture
from random_programs import messages_for
from test_activity import activity, assert_same

from ndeploy import sim
from ndeploy.data import load
from ndeploy.decode import encode, for_data
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.oracle_activity import activity_of
from ndeploy.pipeline import CompileOptions, compile_model


@dataclass(frozen=True)
class Case:
    """data: a data file, or "" for inputs of which one in ten sends something."""

    model: str
    samples: int
    data: str = ""
    steps: int | None = None


NETWORKS = {
    "braille": Case("nir/braille/model.nir", 9, "nir/braille"),
    "mnist-conv": Case("nir/mnist-conv/model.nir", 12, "nir/mnist-conv", 6),
    "tinynet": Case("netx/tinynet/tiny.net", 3),
    "oxford": Case("netx/oxford/network.net", 3, steps=100),
    "parity": Case("ctm/parity/checkpoint.pt", 35, "ctm/parity"),
    "sort": Case("ctm/sort/checkpoint.pt", 5, "ctm/sort"),
    "digits": Case("ctm/digits/checkpoint.pt", 2, "ctm/digits"),
}
LARGE = {
    "spikformer": Case("spikformer/checkpoint.pth.tar", 2, "spikformer"),
    "pilotnet-lif": Case("netx/pilotnet-lif/network.net", 1),
    "pilotnet-sdnn": Case("netx/pilotnet-sdnn/network.net", 1, steps=16),
}


def check(case: Case) -> None:
    """All sums of all neurons at all model steps."""
    calibration = fixture(f"{case.data}/calibration.npz") if case.data else None
    options = CompileOptions(calibration=calibration, steps=case.steps)
    program, messages = given(compile_model(fixture(case.model), options).program, case)
    found = sim.run(program, messages, trace=True, activity=True, kernels="compiled")
    expected = activity_of(program, found.traces)
    assert expected.samples == case.samples
    assert all(expected.messages[port.population].any() for port in program.inputs)
    assert all(value.any() for value in expected.arrivals.values())
    assert_same(activity(found), expected)


def given(program: Program, case: Case) -> tuple[Program, dict[str, IntArray]]:
    """The program as the data want it, and messages."""
    if not case.data:
        return program, messages_for(program, case.samples, np.random.default_rng(0), 0.1)
    data = load(fixture(f"{case.data}/eval.npz"), case.samples)
    fitted = for_data(program, data.x)
    return fitted, dict(encode(fitted, data.x, data.x_scale))


@pytest.mark.parametrize("name", NETWORKS)
def test_activity_of_trained_networks(name: str) -> None:
    check(NETWORKS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", LARGE)
def test_activity_of_large_networks(name: str) -> None:
    check(LARGE[name])
