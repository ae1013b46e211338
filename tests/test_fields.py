"""Registers with mantissa and exponent hold the nearest value they can."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from networks import chain, lif, quantise

from ndeploy.check import check
from ndeploy.ir import network as net
from ndeploy.passes.fields import to_mantissa
from ndeploy.plugins import target


@given(st.integers(-(2**20), 2**20), st.integers(3, 12), st.integers(0, 7))
def test_no_other_value_of_the_register_is_nearer(value, bits, exponent):
    got = int(to_mantissa(np.array([value]), bits, exponent)[0])
    held = {sign * (m << e) for e in range(exponent + 1) for m in range(1 << bits) for sign in (1, -1)}
    largest = ((1 << bits) - 1) << exponent
    if abs(value) > largest + (1 << exponent) // 2:
        assert got == value
    elif abs(value) <= largest:
        assert got in held
        assert abs(got - value) == min(abs(h - value) for h in held)


def test_what_is_quantised_for_loihi_1_passes_its_check():
    rng = np.random.default_rng(0)
    network = chain(
        ("in", net.Input((6,))),
        ("w", net.Linear(rng.normal(size=(5, 6)), rng.normal(size=5))),
        ("n", lif((5,), 1.0, tau=7.0)),
        ("out", net.Output((5,))),
        semantics=net.Semantics(dt=1.0),
    )
    program = quantise(network, 5, chip="loihi1")[1].program
    neuron = program.population("n").neuron
    assert (np.asarray(neuron.vth) % 64 == 0).all()
    assert check(program, target("loihi1")) is not None
