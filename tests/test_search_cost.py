"""What widths cost: memory against the placement it takes apart, bit operations against sums by hand and by force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures_path import fixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import cases, programs
from small_targets import small

from ndeploy import oracle, sim
from ndeploy.errors import RefusedError
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import CubaLif, Input, Relay
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.place import place
from ndeploy.plugins import targets
from ndeploy.search.cost import (
    bit_costs,
    fixed_memory,
    fixed_operations,
    mean_payload,
    memory,
    memory_options,
    operations_options,
    packed_memory,
    widths,
)
from ndeploy.synapses import Conv, Dense
from ndeploy.synapses.sparse import identity
from ndeploy.target import Limit, Target

ANY = 10**9


def at(program: Program, weights: Mapping[str, int]) -> Program:
    """The program with other weight widths."""
    return replace(
        program,
        projections=tuple(replace(p, weight_bits=weights.get(p.name, p.weight_bits)) for p in program.projections),
    )


def with_constants(program: Program, rng: np.random.Generator) -> Program:
    """Some projections become constant synapses; one at least stays trained."""
    flags = rng.random(len(program.projections)) < 0.4
    flags[rng.integers(len(flags))] = False
    return replace(
        program, projections=tuple(replace(p, unit=bool(u)) for p, u in zip(program.projections, flags, strict=True))
    )


def trained(program: Program) -> list[str]:
    return [p.name for p in program.projections if not p.unit]


# -- memory ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    programs(graded=True).filter(lambda p: p.projections),
    st.integers(0, 2**32 - 1),
    st.integers(2, 24),
    st.integers(60, 400),
    st.booleans(),
    st.sampled_from((ANY, 40)),
)
def test_memory_is_what_a_placement_takes(
    program: Program, seed: int, neurons: int, space: int, shared: bool, out: int
) -> None:
    """Uniform widths through options and fixed part, any widths through packed_memory; both exactly."""
    rng = np.random.default_rng(seed)
    program = with_constants(program, rng)
    target = small(neurons, space, ANY, out, ANY, shared)
    mixed = {name: int(rng.integers(2, 9)) for name in trained(program)}
    try:
        placed = place(at(program, mixed), target)
    except RefusedError:
        with pytest.raises(RefusedError):
            packed_memory(program, target, mixed)
    else:
        assert packed_memory(program, target, mixed) == placed.weight_memory_bytes
    if out != ANY:
        return
    try:
        found = memory(program, target)
    except RefusedError:
        for bits in widths(target):
            with pytest.raises(RefusedError):
                place(at(program, dict.fromkeys(mixed, bits)), target)
        return
    for bits in widths(target):
        uniform = dict.fromkeys(mixed, bits)
        try:
            placed = place(at(program, uniform), target)
        except RefusedError:
            assert any(bits not in options for options in found.options.values())
            continue
        assert found.bytes(uniform) == placed.weight_memory_bytes


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(graded=True).filter(lambda p: p.projections), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", ["lava", "loihi2"])
def test_any_widths_are_exact_where_nothing_is_cut(name: str, program: Program, seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = with_constants(program, rng)
    target = targets()[name]
    mixed = {p: int(rng.integers(2, 9)) for p in trained(program)}
    found = memory(program, target)
    assert found.bytes(mixed) == place(at(program, mixed), target).weight_memory_bytes
    assert found.options == memory_options(program, target)
    assert found.fixed == fixed_memory(program, target) == memory(at(program, mixed), target).fixed


def dense(n_out: int, n_in: int) -> Dense:
    return Dense(np.ones((n_out, n_in), dtype=np.int16))


def lif(name: str, shape: tuple[int, ...]) -> Population:
    return Population(name, shape, CubaLif(du=4095, dv=100, vth=6400), offset=1)


def one_layer(n_out: int, n_in: int, bits: int = 8) -> Program:
    return Program(
        "one",
        (Population("in", (n_in,), Input()), lif("a", (n_out,))),
        (Projection("w", "in", "a", dense(n_out, n_in), weight_bits=bits),),
        (InputPort("in"),),
        (OutputPort("a"),),
        3,
    )


def test_packing_by_hand() -> None:
    """20 axons of 30 synapses: 10 bits of header and 30 weights in units of 64 bits (nengo-loihi, block.py)."""
    found = memory(one_layer(30, 20), targets()["loihi1"])
    assert found.fixed == 0
    assert found.options["w"] == {
        2: 20 * 128,
        3: 20 * 128,
        4: 20 * 192,
        5: 20 * 192,
        6: 20 * 192,
        7: 20 * 256,  # fields of 7 bits do not exist: stored in 8
        8: 20 * 256,
    }
    assert memory(one_layer(30, 20), targets()["lava"]).options["w"] == {bits: 600 * bits for bits in range(2, 17)}


def test_a_width_of_its_own_is_an_option_too() -> None:
    """A network taken over exactly may have wider weights than the widths that are chosen from."""
    narrow = replace(targets()["loihi2"].widths, weight=Limit(4, "bits", "test", "code"))
    target = replace(targets()["loihi2"], widths=narrow)
    assert set(memory(one_layer(4, 4, bits=9), target).options["w"]) == {2, 3, 4, 9}
    assert set(memory(one_layer(4, 4, bits=3), target).options["w"]) == {2, 3, 4}


def test_widths_that_no_core_holds_are_left_out() -> None:
    """One neuron with 64 inputs in 200 bytes: an axon each, that is 64 bits of header, weight and padding."""
    target = small(10, 512, ANY, ANY, ANY, True)
    assert set(memory(one_layer(1, 64), target).options["w"]) == set(range(2, 9))
    tight = replace(
        target, packing=replace(target.packing, allocation_unit=Limit(1, "bits", "t", "code"))
    )  # 10 + bits an axon
    roomy = small(10, 64 * 15 // 8, ANY, ANY, ANY, True)
    tight = replace(roomy, packing=tight.packing)
    assert set(memory(one_layer(1, 64), tight).options["w"]) == {2, 3, 4, 5}
    with pytest.raises(RefusedError) as error:
        memory(one_layer(1, 64), small(10, 100, ANY, ANY, ANY, True))
    assert error.value.code == "ND402"


FIXTURES: dict[str, tuple[str, dict[str, str], int | None]] = {
    "nir/mnist-conv": ("model.nir", {"source": "snntorch"}, 6),
    "ctm/parity": ("checkpoint.pt", {"rounding": "nearest"}, None),
}


@pytest.mark.parametrize(
    ("name", "chip"), [("nir/mnist-conv", "loihi1"), ("nir/mnist-conv", "loihi2"), ("ctm/parity", "loihi2")]
)
def test_programs_compiled_at_other_widths_take_what_was_said(name: str, chip: str) -> None:
    file, chosen, steps = FIXTURES[name]
    folder = fixture(name)

    def compiled(bits: int) -> Any:
        options = CompileOptions(
            target=chip, settings=chosen, steps=steps, calibration=folder / "calibration.npz", bits=bits
        )
        return compile_model(folder / file, options)

    found = memory(compiled(8).program, targets()[chip])
    for bits in (3, 8):
        assert found.bytes(dict.fromkeys(found.options, bits)) == compiled(bits).placed.weight_memory_bytes


# -- bits --------------------------------------------------------------------------------------------------------------


def network(realisation: str = "parallel") -> Program:
    """in (2, 2), 4 bits, once a sample -> a (2, 2) by a 1 x 1 kernel of 3 bits; relay r of 5 bits passes a on; p of a
    and r into out; b of 3 from a by a dense of 6 bits."""
    payload = Relay(bits=5, signed=False)
    return Program(
        "hand",
        (
            Population("in", (1, 2, 2), Input(4), updates=1),
            lif("a", (1, 2, 2)),
            Population("r", (1, 2, 2), payload, offset=2),
            Population("out", (2, 2), Relay(bits=9, signed=False), offset=12),
            lif("b", (3,)),
        ),
        (
            Projection("conv", "in", "a", Conv(np.ones((1, 1, 1, 1), np.int16), (1, 2, 2)), weight_bits=3),
            Projection("pass", "a", "r", identity(4), weight_bits=2, unit=True),
            Projection("dense", "a", "b", dense(3, 4), weight_bits=6),
        ),
        (InputPort("in"),),
        (OutputPort("out"),),
        5,
        products=(
            Product("p", "a", "r", "out", (2, 2), (2, 2), "ij,jk->ik", realisation=realisation, stream="j", delay=8),
        ),
        period=4,
    )


def test_operations_by_hand() -> None:
    found = bit_costs(network(), None)
    conv = 4 * 1 * 3 * 4  # synapses, sent once, weight bits, payload
    passed = 4 * 5 * 2 * 1
    dense_ = 12 * 5 * 6 * 1
    product = 8 * 5 * 1 * 5  # scalar products, steps, payloads of a and r
    assert found["s_ace"] == conv + passed + dense_ + product
    assert fixed_operations(network()) == passed + product
    assert operations_options(network(), targets()["loihi2"]) == {
        "conv": {bits: 16 * bits for bits in range(2, 9)},
        "dense": {bits: 60 * bits for bits in range(2, 9)},
    }
    assert found["mean_weight_bits"] == (1 * 3 + 12 * 6) / 13
    assert found["mean_spike_bits"] == (4 * 1 + 4 * 5 + 4 * 9 + 3 * 1) / 15
    assert found["steps"] == 5
    assert found["bb"] == pytest.approx(5 * 75 / 13 * 63 / 15)
    assert "ns_ace" not in found
    assert mean_payload(network()) == (4 * 5 + 4 * 9) / 8
    assert mean_payload(one_layer(2, 2)) == 1.0
    assert bit_costs(one_layer(30, 20, bits=5), None)["s_ace"] == 600 * 3 * 5


def by_force(program: Program, messages: Mapping[str, Any], traces: Mapping[str, Any]) -> float:
    """NS-ACE: every synapse and every scalar product looked at one by one."""
    total, samples = 0, len(next(iter(messages.values())))
    bits = {p.name: p.neuron.message.bits for p in program.populations}
    made = {p.name: min(p.updates or program.steps, program.steps) for p in program.populations}
    sent = {name: traces[f"spikes/{name}"].reshape(samples, program.steps, -1) for name in bits}
    for p in program.projections:
        _, source, _ = p.synapses.to_coo()
        for step in range(program.steps):
            total += int((sent[p.source][:, step, source] != 0).sum()) * p.weight_bits * bits[p.source]
    for q in program.products:
        for step in range(program.steps):
            left = sent[q.left][:, min(step, made[q.left] - 1)].reshape(samples, *q.left_view) != 0
            right = sent[q.right][:, min(step, made[q.right] - 1)].reshape(samples, *q.right_view) != 0
            if q.realisation == "embedded":
                left, right = np.ones_like(left), np.ones_like(right)
            one, two = q.subscripts.split("->")[0].split(",")
            live = np.einsum(f"Z{one},Z{two}->", left.astype(np.int64), right.astype(np.int64))
            total += int(live) * bits[q.left] * bits[q.right]
    return total / samples


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(graded=True))
def test_sparse_operations_are_those_of_the_messages(case: Any) -> None:
    program, messages = case
    result = oracle.run(program, messages)
    found = bit_costs(program, result.counts)
    assert found["ns_ace"] == pytest.approx(by_force(program, messages, result.traces), rel=1e-12)
    assert found["ns_ace"] <= found["s_ace"] * (1 + 1e-12)


@pytest.mark.parametrize("realisation", ["parallel", "streamed", "embedded"])
def test_every_realisation_of_a_product_counts(realisation: str) -> None:
    program = network(realisation)
    messages = {"in": np.random.default_rng(0).integers(0, 16, size=(3, 5, 1, 2, 2))}
    result = sim.run(program, messages, trace=True)
    found = bit_costs(program, result.counts)
    assert found["ns_ace"] == pytest.approx(by_force(program, messages, result.traces))
    assert found["s_ace"] == bit_costs(network(), None)["s_ace"]


def test_operations_options_add_up() -> None:
    program = network()
    options = operations_options(program, targets()["lava"])
    chosen = {"conv": 2, "dense": 7}
    total = fixed_operations(program) + sum(options[name][bits] for name, bits in chosen.items())
    assert total == bit_costs(at(program, chosen), None)["s_ace"]


def test_targets_limit_widths() -> None:
    def limited(value: int | None) -> Target:
        base = targets()["loihi2"]
        return replace(base, widths=replace(base.widths, weight=Limit(value, "bits", "test", "code")))

    assert widths(limited(8)) == tuple(range(2, 9))
    assert widths(limited(4)) == (2, 3, 4)
    assert widths(limited(None)) == widths(limited(32)) == tuple(range(2, 17))
