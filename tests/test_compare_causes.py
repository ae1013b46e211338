"""Planted single causes: each is named, against the float network and against the program as it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compared_networks import (
    compiled,
    data,
    delayed,
    flipped,
    float_engine,
    network,
    plantings,
    program_engine,
    skipping,
    with_neuron,
)
from compared_plantings import every
from fixtures_path import ROOT, fixture

from ndeploy import data as samples_of
from ndeploy import sim
from ndeploy.data import Data
from ndeploy.decode import encode, for_data
from ndeploy.divergence import exact
from ndeploy.divergence.compare import Comparison, compare
from ndeploy.divergence.engines import FloatEngine, why_not
from ndeploy.divergence.integer_mix import differing
from ndeploy.divergence.sides import Mended, plain_simulator
from ndeploy.ir import network as net
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLif
from ndeploy.pipeline import CompileOptions, compile_model


def against_float(engine: FloatEngine, samples: Data) -> Comparison:
    side = plain_simulator(engine.program, 1)
    return compare(engine.program, samples, side, Mended(engine), against="float", engine=engine)


def against_program(program: Program, clean: Program, samples: Data) -> Comparison:
    return compare(
        program,
        samples,
        plain_simulator(program, 1),
        plain_simulator(clean, 1),
        against="clean",
        engine=program_engine(program, clean),
    )


def named(found: Comparison) -> str | None:
    cause = None if found.ablation is None else found.ablation.named
    return None if cause is None else cause.cause


@pytest.mark.parametrize("reset", ["subtract", pytest.param("zero", marks=pytest.mark.long)])
def test_planted_in_a_small_network(reset: str) -> None:
    made = network(reset=reset)
    clean, samples = compiled(made), data()
    base = against_float(float_engine(made, clean), samples)
    total, by_float, wrong = 0, 0, []
    for cause, where, program in plantings(clean):
        beside = against_program(program, clean, samples)
        if beside.equal:  # it changes nothing on these data: there is nothing to explain
            continue
        total += 1
        assert named(beside) == cause, where
        found = against_float(float_engine(made, program), samples)
        assert found.ablation is not None
        if named(found) == cause:
            by_float += 1
        else:
            wrong.append((cause, where, named(found)))
    assert total >= 14
    assert base.ablation is not None
    assert not any(share.beyond for share in base.ablation.shares)
    assert by_float >= 0.9 * total, wrong


@pytest.mark.parametrize("make", [delayed, skipping])
def test_planted_in_synapses_and_skips(make: Callable[[], tuple[net.Network, Data]]) -> None:
    made, samples = make()
    clean = compiled(made)
    traced = sim.run(clean, encode(clean, samples.x), trace=True)
    total, wrong = set(), []
    for planting in every(clean, traced, float_engine(made, clean).exact.integer, seed=3, most=1):
        if planting.program is None or planting.kind == "saturation":  # in units of its own
            continue
        beside = against_program(planting.program, clean, samples)
        if beside.equal:
            continue
        total.add(planting.kind)
        apart = against_float(float_engine(made, planting.program), samples)
        if (beside.named and beside.named.cause, named(apart)) != (planting.cause, planting.cause):
            wrong.append((planting.kind, planting.where, named(apart)))
    assert total >= {"delay", "decay", "threshold", "reset"}
    assert total & {"synapse's delay", "skip delay dropped"}
    assert not wrong


def test_a_compare_is_told_by_ties() -> None:
    """Whole weights and thresholds tie at nearly every spike."""
    one = np.ones(4)
    rng = np.random.default_rng(0)
    nodes = {
        "input": net.Input((10,)),
        "fc": net.Linear(rng.integers(-1, 2, (4, 10)).astype(float)),
        "out": net.IF(one, 3.0 * one, 0 * one),
        "output": net.Output((4,)),
    }
    semantics = net.Semantics(dt=1.0, integrator="euler", reset="zero", compare="ge", if_gain="unit")
    edges = (("input", "fc"), ("fc", "out"), ("out", "output"))
    made = net.Network("ties", nodes, edges, semantics, steps=24)
    clean = compiled(made)
    neuron = clean.population("out").neuron
    assert isinstance(neuron, CubaLif)
    tied = int(np.asarray(neuron.bias).flat[0]) == 1
    planted = {"bias": 0} if tied else {"vth": np.asarray(neuron.vth) + 1}
    program = with_neuron(clean, "out", **planted)
    assert against_float(float_engine(made, clean), data()).equal
    for found in (against_float(float_engine(made, program), data()), against_program(program, clean, data())):
        assert not found.equal
        assert named(found) == "compare"


def test_a_weight_is_found_by_its_place() -> None:
    made = network()
    clean = compiled(made)
    name = next(q.name for q in clean.projections if q.target == "out" and not q.unit)
    shape = next(q for q in clean.projections if q.name == name).synapses.weight.shape
    flips = ((at, flipped(clean, name, at)) for at in np.ndindex(*shape))
    place, program = next((at, p) for at, p in flips if not against_program(p, clean, data()).equal)
    for found in (against_float(float_engine(made, program), data()), against_program(program, clean, data())):
        assert found.ablation is not None
        assert found.ablation.named is not None
        assert any(str(list(place)) in line and f"'{name}'" in line for line in found.ablation.named.findings)
        assert found.ablation.named.layers[0][0] == "out"


def test_clean_programs_raise_no_alarm() -> None:
    for seed in range(6):
        made = network(seed)
        clean = compiled(made)
        assert against_program(clean, clean, data(seed=seed)).equal
        engine = float_engine(made, clean)
        assert engine.beyond_rounding(data(seed=seed)) == {}


def test_programs_of_other_units_are_not_mixed() -> None:
    made = network()
    assert why_not(compiled(made), compiled(made)) == ""
    assert "unit" in why_not(compiled(made, bits=8), compiled(made, bits=4))
    other = compiled(network(2))
    assert why_not(compiled(made), other) != ""


def test_fields_that_differ_by_cause() -> None:
    clean = CubaLif(du=4095, dv=128, vth=640, bias=3)
    assert differing(clean, clean) == {}
    assert differing(CubaLif(du=4095, dv=128, vth=641, bias=3), clean) == {"compare": ["vth"]}
    assert differing(CubaLif(du=4095, dv=128, vth=640, bias=4), clean) == {"compare": ["bias"]}
    both = CubaLif(du=4095, dv=128, vth=641, bias=4)
    assert differing(both, clean) == {"threshold": ["vth"], "bias": ["bias"]}
    per_neuron = CubaLif(du=4095, dv=128, vth=np.array([640, 640]), bias=3)
    assert differing(per_neuron, clean) == {}


@pytest.mark.parametrize("name", ["mnist-conv", "braille"])
def test_planted_in_trained_networks(name: str) -> None:
    folder = ROOT / "examples" / name if name == "mnist-conv" else fixture(f"nir/{name}")
    steps = 6 if name == "mnist-conv" else None
    options = CompileOptions(calibration=folder / "calibration.npz", steps=steps)
    made = compile_model(folder / "model.nir", options)
    samples = samples_of.load(folder / "eval.npz", 4)
    if name == "braille":  # the first of 256 model steps
        samples = Data(samples.x[:4, :90], None, samples.x_scale)
    meta = {"target": "loihi2"}
    total, good, wrong, seen = 0, 0, [], set()
    for cause, where, program in plantings(made.program):
        if cause in seen:
            continue
        program = for_data(program, samples.x)
        if against_program(program, for_data(made.program, samples.x), samples).equal:
            continue
        seen.add(cause)
        numbers, why = exact.beside(made.network, program, meta)
        assert numbers is not None, why
        total += 1
        found = against_float(FloatEngine(program, numbers), samples)
        good += named(found) == cause
        wrong += [] if named(found) == cause else [(cause, where, named(found))]
    assert seen >= {"weights", "delay", "decay", "threshold", "bias", "reset"}
    assert good == total, wrong
