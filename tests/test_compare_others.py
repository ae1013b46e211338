"""Networks like no fixture: what is clean raises no alarm, and what is planted is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_ctm
from compared_networks import with_neuron, with_projection
from networks import chain, quantise
from small_artifact import PROGRAM as SMALL

from ndeploy.data import Data
from ndeploy.decode import for_data
from ndeploy.divergence import exact
from ndeploy.divergence.ablation import Ablation, Effect, Share
from ndeploy.divergence.causes import PROGRAM, mending
from ndeploy.divergence.compare import compare
from ndeploy.divergence.engines import FloatEngine, ProgramEngine, why_not
from ndeploy.divergence.sides import Mended, plain_simulator
from ndeploy.ir import network as net
from ndeploy.ir.program import Program
from ndeploy.pipeline import Compiled, CompileOptions, compile_model
from ndeploy.synapses import Sparse

MACHINES: tuple[dict[str, Any], ...] = (
    {"neurons": 24, "memory": 5, "iterations": 7, "width": 16, "heads": 4, "hidden": 2},
    {"neurons": 20, "memory": 4, "iterations": 6, "heads": 0, "select": "first-last", "length": 6, "hidden": 3},
)


def machine(folder: Path, choices: dict[str, Any]) -> tuple[Compiled, Data]:
    made = tiny_ctm.write(folder / "m.pt", seed=0, **choices)
    np.savez(folder / "c.npz", x=tiny_ctm.samples(made, 24, 7))
    compiled = compile_model(folder / "m.pt", CompileOptions(calibration=folder / "c.npz"))
    return compiled, Data(tiny_ctm.samples(made, 2, 90))


def beside_float(network: net.Network, program: Program, target: str) -> FloatEngine:
    numbers, why = exact.beside(network, program, {"target": target})
    assert numbers is not None, why
    return FloatEngine(program, numbers)


@pytest.mark.parametrize("choices", MACHINES)
def test_weights_that_make_up_for_their_neighbours_are_rounding(tmp_path: Path, choices: dict[str, Any]) -> None:
    """Machines this small have neurons with three weights, of which one takes the errors of the others."""
    compiled, samples = machine(tmp_path, choices)
    assert beside_float(compiled.network, compiled.program, "loihi2").beyond_rounding(samples) == {}


@pytest.mark.parametrize("reset", ["zero", "delayed-zero"])
def test_a_reset_that_is_rounded_is_no_other_reset(reset: str) -> None:
    rng = np.random.default_rng(1)
    one = np.ones(6)
    neuron = net.LIF(3e-3 * one, one, 0.1 * one, rng.uniform(0.5, 0.9, 6), rng.uniform(-0.4, -0.1, 6))
    nodes = (("input", net.Input((8,))), ("fc", net.Linear(rng.normal(0, 0.9, (6, 8)), 0 * one)), ("out", neuron))
    semantics = net.Semantics(dt=1e-3, integrator="euler", reset=reset, compare="gt")
    made = replace(chain(*nodes, ("output", net.Output((6,))), semantics=semantics), steps=12)
    samples = Data((rng.random((3, 12, 8)) < 0.4).astype(np.uint8))
    program = quantise(made, 12, x=samples.x)[1].program
    engine = beside_float(made, program, "lava")
    assert "reset" in engine.differing(samples)  # it is rounded
    assert "reset" not in engine.beyond_rounding(samples)


def share(cause: str, explains: float, *, beyond: bool) -> Share:
    return Share(cause, "", None, Effect(explains, None, None), explains, explains, "", beyond)


@pytest.mark.parametrize(
    ("cause", "named"), [("reset", "reset"), ("delay", "delay"), ("decay", "decay"), ("bias", "weights")]
)
def test_what_is_no_rounding_for_certain_is_named_however_little_it_does(cause: str, named: str) -> None:
    shares = (share("weights", 0.99, beyond=False), share(cause, 0.001, beyond=True))
    found = Ablation(2, Effect(1.0, None, None), shares).named
    assert found is not None
    assert found.cause == named


def test_synapses_that_lead_elsewhere_are_named(tmp_path: Path) -> None:
    """Two neurons of a pair taken for each other: the weights are the same."""
    compiled, samples = machine(tmp_path, MACHINES[1])
    clean = for_data(compiled.program, samples.x)
    q = next(q for q in clean.projections if isinstance(q.synapses, Sparse) and q.target == "synch_out")
    assert isinstance(q.synapses, Sparse)
    wrong = with_projection(
        clean, q.name, synapses=replace(q.synapses, source=(q.synapses.source + 1) % q.synapses.inputs)
    )
    assert not why_not(wrong, clean)
    engine = ProgramEngine(wrong, clean, 1)
    sides = plain_simulator(wrong, 1), plain_simulator(clean, 1)
    found = compare(wrong, samples, *sides, against="clean", engine=engine)
    assert not found.equal
    assert found.named is not None
    assert found.named.cause == "weights"
    assert any(f"synapses of '{q.name}' join other neurons" in text for text in found.named.findings)
    numbers, why = exact.beside(compiled.network, wrong, {"target": "loihi2"})
    assert numbers is None
    assert "joins other neurons" in why


def test_a_decay_of_synchronisation_is_told_without_a_compile_of_today(tmp_path: Path) -> None:
    compiled, samples = machine(tmp_path, MACHINES[0])
    clean = compiled.program
    assert "decay" not in beside_float(compiled.network, clean, "loihi2").differing(samples)  # it is rounded
    factor = np.clip(np.asarray(clean.population("synch_out").neuron.factor) - 80, 0, 4096)  # type: ignore[attr-defined]
    wrong = with_neuron(clean, "synch_out", factor=factor)
    engine = beside_float(compiled.network, wrong, "loihi2")
    found = compare(wrong, samples, plain_simulator(wrong, 1), Mended(engine), against="float", engine=engine)
    assert found.named is not None
    assert (found.named.cause, found.named.layers) == ("decay", (("synch_out", 1.0),))
    assert "what stays of the sum of 'synch_out'" in found.named.findings[0]
    both = engine.run(samples, mending("decay")), beside_float(compiled.network, clean, "loihi2").run(samples, PROGRAM)
    assert both[0] is not None
    assert both[1] is not None
    np.testing.assert_array_equal(both[0].messages["synch_out"], both[1].messages["synch_out"])


def test_membranes_that_are_sent_are_compared_in_real_values() -> None:
    """Of a leaky integrator before a spiking layer: they leave without their lowest bits."""
    rng = np.random.default_rng(4)
    one = np.ones(6)
    nodes = (
        ("input", net.Input((8,))),
        ("fc", net.Linear(rng.normal(0, 0.9, (6, 8)), 0 * one)),
        ("li", net.LI(4e-3 * one, one, 0 * one)),
        ("fc2", net.Linear(rng.normal(0, 2.0, (6, 6)), 0 * one)),
        ("out", net.LIF(3e-3 * one, one, 0 * one, 0.3 * one, 0 * one)),
        ("output", net.Output((6,))),
    )
    semantics = net.Semantics(dt=1e-3, integrator="euler", reset="subtract", compare="gt")
    made = replace(chain(*nodes, semantics=semantics), steps=12)
    samples = Data((rng.random((3, 12, 8)) < 0.4).astype(np.uint8))
    program = quantise(made, 12, x=samples.x)[1].program
    assert program.population("li").neuron.message.bits > 1
    engine = beside_float(made, program, "lava")
    found = compare(program, samples, plain_simulator(program, 1), Mended(engine), against="float", engine=engine)
    assert not found.notes  # the runner computes what the program says
    (layer,) = [layer for layer in found.layers if layer.name == "li"]
    assert layer.sqnr > 20


def test_every_input_has_to_be_in_one_unit() -> None:
    port = SMALL.inputs[0]
    one, other = (replace(SMALL, inputs=(port, replace(port, scale=scale))) for scale in (1.0, 0.5))
    assert not why_not(one, one)
    assert why_not(one, other) == "the two programs take other inputs"
