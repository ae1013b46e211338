"""Synaptic memory by hand: Loihi 1's blocks of 64 synapses, 10-bit headers, 64-bit units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.pack import SynapseFormat, field_width, synapse_format
from ndeploy.place.links import Every, Exclusive, Separable
from ndeploy.place.units import units_of
from ndeploy.plugins import targets
from ndeploy.synapses import Conv, Dense, Synapses
from ndeploy.synapses.sparse import identity

LOIHI1 = targets()["loihi1"].packing


@pytest.mark.parametrize(
    ("bits", "stored_delay", "reach", "synapses", "expected"),
    [
        (8, 0, 0, 6, 64),  # 10 + 6 * 8 = 58
        (8, 0, 0, 7, 128),  # 10 + 7 * 8 = 66
        (8, 0, 0, 64, 576),  # 10 + 512 = 522
        (8, 0, 0, 65, 640),  # 576 + (10 + 8 -> 64)
        (7, 0, 0, 6, 64),  # no 7-bit field: 8 bits
        (1, 0, 0, 54, 64),  # 10 + 54
        (1, 0, 0, 55, 128),
        (8, 63, 0, 3, 64),  # 6 delay bits: 10 + 3 * 14 = 52
        (8, 63, 0, 4, 128),  # 10 + 4 * 14 = 66
        (8, 0, 64, 3, 64),  # 6 index bits: 10 + 3 * 14 = 52
        (8, 0, 65, 3, 64),  # 7 index bits: 10 + 3 * 15 = 55
        (8, 0, 2, 3, 64),  # the narrowest index field has 6 bits
        (8, 0, 1024, 3, 64),  # 10 index bits: 10 + 3 * 18 = 64
        (8, 0, 0, 0, 0),
    ],
)
def test_bits_of_an_axon_on_loihi1(bits: int, stored_delay: int, reach: int, synapses: int, expected: int) -> None:
    form = synapse_format(bits, stored_delay, reach, LOIHI1)
    assert int(form.axon_bits(np.array(synapses))) == expected


def test_field_widths() -> None:
    assert [field_width(b, (1, 2, 4, 8)) for b in (0, 1, 3, 5, 9)] == [0, 1, 4, 8, 8]
    assert field_width(13, ()) == 13


@given(
    st.integers(1, 9), st.integers(0, 6), st.integers(0, 12), st.integers(0, 12), st.sampled_from([1, 8, 64]),
    st.integers(0, 70), st.lists(st.integers(0, 200), min_size=1, max_size=6),
)  # fmt: skip
def test_no_parting_of_an_axon_beats_the_least(
    weight: int, delay: int, index: int, header: int, unit: int, block: int, parts: list[int]
) -> None:
    form = SynapseFormat(weight, delay, index, 0, header, unit, block)
    assert int(form.least_bits(np.array(sum(parts)))) <= int(form.axon_bits(np.array(parts)).sum())


def one(synapses: Synapses, shape: tuple[int, ...], bits: int = 8) -> Program:
    populations = (Population("in", (synapses.n_in,), Input()), Population("a", shape, CubaLif(du=0, dv=0, vth=64)))
    projection = Projection("w", "in", "a", synapses, weight_bits=bits)
    return Program("test", populations, (projection,), (InputPort("in"),), (OutputPort("a"),), 1)


def test_a_dense_projection() -> None:
    (unit,) = units_of(one(Dense(np.zeros((100, 20), dtype=np.int16)), (100,)), targets()["loihi1"]).units
    (link,) = unit.links
    load = link.load(((0, 100),))
    assert (load.synapses, load.axons) == (2000, 20)
    assert load.bits == 20 * (576 + 320)  # 64 synapses, then 36: 10 + 288 = 298 -> 320


def test_a_convolution_is_shared_on_loihi2_and_unrolled_on_loihi1() -> None:
    conv = Conv(np.zeros((4, 2, 3, 3), dtype=np.int16), (2, 8, 8))  # no padding: 6 x 6 positions out
    whole = ((0, 4), (0, 6), (0, 6))
    (shared,) = units_of(one(conv, conv.out_shape), targets()["loihi2"]).units[0].links
    assert shared.load(whole).bits == 2 * 320  # for each input channel 4 * 9 weights: 10 + 288 = 298 -> 320
    assert shared.load(whole).axons == 128
    assert shared.load(((0, 1), (0, 6), (0, 6))).bits == 2 * 128  # 9 weights: 10 + 72 -> 128
    (unrolled,) = units_of(one(conv, conv.out_shape), targets()["loihi1"]).units[0].links
    assert unrolled.load(whole).synapses == conv.count() == 4 * 2 * 9 * 36
    index = 8  # 144 neurons
    per_source = conv.fan_out()
    by_hand = sum(-(-(10 + int(n) * (8 + index)) // 64) * 64 for n in per_source)
    assert per_source.max() <= 64
    assert unrolled.load(whole).bits == by_hand


def test_listed_synapses_pay_for_indices() -> None:
    (unit,) = units_of(one(identity(10), (10,)), targets()["loihi1"]).units
    assert unit.links[0].load(((0, 10),)).bits == 10 * 64
    assert unit.links[0].load(((3, 5),)).axons == 2


def test_links_of_products() -> None:
    form = synapse_format(1, 0, 100, LOIHI1)
    link = Separable("x", "q", 6, (2, 5, 3), form, (Every(2), Every(1), Every(3)), (0, 2, 1))
    assert link.load(((0, 1), (0, 2), (0, 3))).axons == 6
    assert Exclusive("x", "x/neurons", 40, (10,), form, 4).load(((2, 7),)).axons == 20
