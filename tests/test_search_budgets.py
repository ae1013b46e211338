"""Budgets: kept as everyone counts them, alone and together; refused with the nearest that can be kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import searched_networks as nets
from networks import HALF, lif
from searched_networks import NETWORKS, request, samples, searched, uniform
from small_targets import small

from ndeploy.budget import mean_bits as bits_text
from ndeploy.budget import memory, operations
from ndeploy.errors import RefusedError
from ndeploy.ir import network as net
from ndeploy.ir.program import Program
from ndeploy.place import place
from ndeploy.plugins import target
from ndeploy.search.cost import bit_costs
from ndeploy.search.score import reference, score
from ndeploy.summary import summarise


def packed(program: Program, chip: str = "loihi2") -> int:
    """Bytes of synaptic memory as placed."""
    return place(program, target(chip)).weight_memory_bytes


def nearest(refused: RefusedError) -> str:
    """The feasible budget that a refusal names."""
    assert refused.code == "ND306"
    return str(refused).split("nearest that can is ")[1].splitlines()[0].split()[0]


# -- budgets are kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2.3, 7.99])
@pytest.mark.parametrize("name", NETWORKS)
def test_mean_bits_are_kept_and_everyone_agrees_on_them(name, bits):
    network = NETWORKS[name](1)
    found = searched(request(network, samples(network), mean_bits=bits))
    told = found.explanation
    assert told is not None
    assert summarise(found.program).weight_bits_mean == pytest.approx(told.mean_bits)
    assert told.mean_bits <= bits + 1e-9
    assert told.memory_bytes == packed(found.program)
    widths = {p.name: p.weight_bits for p in found.program.projections if not p.unit}
    assert {layer.name: layer.bits for layer in told.layers} == widths
    assert sum(layer.parameters for layer in told.layers) == summarise(found.program).parameters
    assert sum(layer.loss_share or 0 for layer in told.layers) == pytest.approx(1) or all(
        layer.loss_share == 0 for layer in told.layers
    )
    assert told.budget == {"mean_bits": bits}


@pytest.mark.parametrize("bytes_", [960, 1300, 2000])
def test_synaptic_memory_is_kept_as_placed(bytes_):
    network = nets.dense(0, 40, 40)
    found = searched(request(network, samples(network), memory_bytes=bytes_))
    assert packed(found.program) <= bytes_
    assert found.explanation is not None
    assert found.explanation.memory_bytes == packed(found.program)


def shared(seed: int) -> net.Network:
    """A population that two trained projections share, larger than a core of `SMALL`."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, net.Node] = {
        "x": net.Input((30,)),
        "a": net.Linear(rng.normal(size=(24, 30)) / 4),
        "r": net.Linear(rng.normal(size=(24, 24)) / 5),
        "h": lif((24,), 0.6),
        "b": net.Linear(rng.normal(size=(3, 24))),
        "out": net.Output((3,)),
    }
    pairs = ("x", "a"), ("a", "h"), ("h", "r"), ("r", "h"), ("h", "b"), ("b", "out")
    return net.Network("shared", nodes, pairs, HALF, steps=nets.STEPS)


SMALL = small(64, 640, 4096, 4096, 4096, False)
"""Cores that synaptic memory fills."""


@pytest.mark.parametrize("bytes_", [900, 1250])
def test_memory_that_is_more_than_the_sum_of_its_parts_is_kept(bytes_):
    """Widths that differ in one population cut it into other boxes than each would alone; uniform ones do not."""
    network = shared(0)
    data = samples(network, 10)
    asked = replace(request(network, data, memory_bytes=bytes_), target=SMALL)
    found = searched(asked)
    assert place(found.program, SMALL).weight_memory_bytes <= bytes_
    wanted = reference(network, data)
    for bits in range(2, 9):
        plain = uniform(asked, bits)
        if place(plain.program, SMALL).weight_memory_bytes <= bytes_:
            assert score(found.program, data, wanted).loss <= score(plain.program, data, wanted).loss


def test_memory_of_a_network_without_cores_is_kept():
    network = nets.recurrent(0)
    for bytes_ in (25, 45):
        found = searched(request(network, samples(network), "lava", memory_bytes=bytes_))
        bits = sum(p.synapses.weight.size * p.weight_bits for p in found.program.projections)
        assert bits <= 8 * bytes_


def test_operations_are_kept():
    network = nets.recurrent(2)
    data = samples(network)
    most = bit_costs(uniform(request(network, data), 8).program, None)["s_ace"]
    for share in (0.4, 0.9):
        found = searched(request(network, data, operations=share * most))
        assert found.explanation is not None
        assert found.explanation.costs["s_ace"] == bit_costs(found.program, None)["s_ace"] <= share * most


def test_two_budgets_together_are_both_kept():
    network = nets.dense(3, 30, 30)
    data = samples(network)
    alone = searched(request(network, data, mean_bits=4))
    limit = 0.75 * bit_costs(alone.program, None)["s_ace"]
    found = searched(request(network, data, mean_bits=4, operations=limit, memory_bytes=2000))
    assert bit_costs(found.program, None)["s_ace"] <= limit
    assert summarise(found.program).weight_bits_mean <= 4
    assert packed(found.program) <= 2000
    assert found.explanation is not None
    assert found.explanation.limits.count("used") == 3


# -- budgets that nothing meets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "field", "parse"),
    [(1.5, "mean_bits", bits_text), (100, "memory_bytes", memory), (500.0, "operations", operations)],
)
@pytest.mark.parametrize("name", ["dense", "convolution"])
def test_the_nearest_feasible_budget_is_named_and_works(name, asked, field, parse):
    network = NETWORKS[name](0)
    data = samples(network)
    with pytest.raises(RefusedError) as refused:
        searched(request(network, data, **{field: asked}))
    value = parse(nearest(refused.value))
    assert value > asked
    found = searched(request(network, data, **{field: value}))
    taken = {
        "mean_bits": summarise(found.program).weight_bits_mean,
        "memory_bytes": packed(found.program),
        "operations": bit_costs(found.program, None)["s_ace"],
    }
    assert taken[field] <= value * (1 + 1e-9)


# -- accuracy budgets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "chip"), [("dense", "lava"), ("convolution", "loihi2"), ("recurrent", "lava")])
def test_an_accuracy_is_kept_with_less_memory(name, chip):
    network = NETWORKS[name](2)
    data = samples(network, 48)
    widest = searched(request(network, data, chip, mean_bits=8)).explanation
    assert widest is not None
    taken = []
    for points in (5, 40):
        told = searched(request(network, data, chip, accuracy_points=points)).explanation
        assert told is not None
        assert told.accuracy >= told.float_accuracy - points / 100 - 1e-9
        assert told.memory_bytes <= widest.memory_bytes
        taken.append(told.memory_bytes)
    assert taken[1] <= taken[0]
    if chip == "lava":
        assert taken[1] < widest.memory_bytes


def test_an_accuracy_that_eight_bits_do_not_keep():
    network = nets.dense(1, 30, 40)
    data = samples(network, 64)
    with pytest.raises(RefusedError) as refused:
        searched(request(network, data, accuracy_points=0))
    value = float(nearest(refused.value))
    told = searched(request(network, data, accuracy_points=value)).explanation
    assert told is not None
    assert told.accuracy >= told.float_accuracy - value / 100 - 1e-9


def test_an_accuracy_and_a_memory_are_both_kept_or_refused():
    network = nets.dense(2, 30, 40)
    data = samples(network, 64)
    found = searched(request(network, data, accuracy_points=10, memory_bytes=1100))
    assert packed(found.program) <= 1100
    with pytest.raises(RefusedError) as refused:
        searched(request(network, data, "lava", accuracy_points=0, memory_bytes=331))
    assert refused.value.code == "ND306"


def test_the_memory_that_an_accuracy_takes_is_named_and_works():
    network = shared(0)
    data = samples(network, 10)
    asked = replace(request(network, data, accuracy_points=1, memory_bytes=700), target=SMALL)
    with pytest.raises(RefusedError) as refused:
        searched(asked)
    value = memory(nearest(refused.value))
    assert value < 1500  # far from what eight bits take
    found = searched(replace(asked, budget=replace(asked.budget, memory_bytes=value)))
    assert place(found.program, SMALL).weight_memory_bytes <= value
    assert found.explanation is not None
    assert found.explanation.accuracy >= found.explanation.float_accuracy - 0.01 - 1e-9
