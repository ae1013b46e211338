"""Doubled states overflow exactly where the originals pass half of their width."""

from __future__ import annotations

import numpy as np
import pytest

from ndeploy import oracle
from ndeploy.fixed import STATE_MAX
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLi, CubaLif, Input
from ndeploy.passes.margin import with_margin
from ndeploy.passes.ranges import input_ranges
from ndeploy.synapses import Dense


def program(weight: int, neuron: CubaLif | CubaLi) -> Program:
    return Program(
        "m",
        (Population("in", (1,), Input(16)), Population("n", (1,), neuron, 1)),
        (Projection("w", "in", "n", Dense(np.array([[weight]], dtype=np.int16))),),
        (InputPort("in"),),
        (OutputPort("n", "v"),),
        steps=3,
    )


@pytest.mark.parametrize("neuron", [CubaLif(4095, 0, 64 * 60000, bias=-7), CubaLi(4095, 0, bias=5)])
@pytest.mark.parametrize("share", [0.30, 0.47, 0.53, 0.9])
def test_half_of_the_width_is_the_limit(neuron, share):
    # three negative inputs add up to `share` of the width
    one = -round(share * STATE_MAX / 3 / 64)
    original = program(-1, neuron)
    messages = {"in": np.full((1, 3, 1), -one, dtype=np.int64)}
    assert not oracle.run(original, messages).overflow
    stressed = with_margin(original, input_ranges(original))
    assert bool(oracle.run(stressed, messages).overflow) == (share > 0.5)


def test_spikes_stay_the_same_and_proved_ranges_are_left_alone():
    wide = program(3, CubaLif(4095, 410, 64 * 500, bias=64))
    messages = {"in": np.array([[[200], [0], [300]]])}
    assert (
        oracle.run(wide, messages).traces["spikes/n"]
        == oracle.run(with_margin(wide, input_ranges(wide)), messages).traces["spikes/n"]
    ).all()
    narrow = Program(
        "m",
        (Population("in", (1,), Input(1)), *wide.populations[1:]),
        wide.projections,
        wide.inputs,
        wide.outputs,
        steps=3,
    )
    assert with_margin(narrow, input_ranges(narrow)).population("n").neuron is narrow.population("n").neuron
