"""Real-valued mantissas, where fine-tuning starts: what rounding to nearest made the program of."""

from __future__ import annotations

from dataclasses import replace

import graded_compile
import numpy as np
import pytest
import small_artifact
from graded_networks import oddities, thinker
from synthetic_ctm import synthetic

from ndeploy.train.finetune import RATE
from ndeploy.train.rate import GRADED_RATE, default_rate
from ndeploy.train.real_mantissas import real_mantissas


@pytest.mark.parametrize("make", [thinker, oddities])
def test_rounded_to_nearest_they_are_the_programs(make) -> None:
    network = make(seed=1)
    asked = graded_compile.request(network, graded_compile.samples(network, 20), bits=5, together=False)
    program = graded_compile.quantise(asked).program
    found = real_mantissas(asked.lowered, program)
    trained = {p.name: p for p in program.projections if not p.unit}
    assert set(found) == set(trained)
    exact = 0
    for name, value in found.items():
        top = (1 << (trained[name].weight_bits - 1)) - 1
        assert np.array_equal(np.clip(np.rint(value), -top, top), trained[name].synapses.weight), name
        exact += int((value == np.rint(value)).sum())
    assert exact < sum(value.size for value in found.values()) / 2


def test_projections_that_are_not_the_networks_are_left_out() -> None:
    network = thinker(seed=1)
    asked = graded_compile.request(network, graded_compile.samples(network, 20), together=False)
    program = graded_compile.quantise(asked).program
    first, *others = [p for p in program.projections if not p.unit]
    renamed = replace(program, projections=(replace(first, name="another"), *others))
    assert set(real_mantissas(asked.lowered, renamed)) == {p.name for p in others}


def test_graded_programs_are_trained_more_slowly() -> None:
    graded, spiking = synthetic(), small_artifact.PROGRAM
    assert default_rate(graded) == GRADED_RATE
    assert default_rate(spiking) == RATE > GRADED_RATE
