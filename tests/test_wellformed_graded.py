"""Programs with fields that no execution should see are refused before they are used, each for what is wrong."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import Case, cases

from ndeploy import artifact, oracle, wellformed
from ndeploy.artifact import MANIFEST, Artifact
from ndeploy.errors import UsageError
from ndeploy.ir import serial
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import (
    Affine,
    CubaLi,
    CubaLif,
    Delta,
    Gate,
    Input,
    LayerNorm,
    Neuron,
    ProductNeuron,
    Register,
    Sigma,
    Silu,
    Softmax,
    Synchrony,
)
from ndeploy.synapses.sparse import identity
from ndeploy.wellformed_neurons import MAX_ROWS

TABLE = np.ones((3, 6), dtype=np.int64)


def around(neuron: Neuron, **more: Any) -> Program:
    """input (2, 3) -> the neuron (2, 3), over every port."""
    links = (Projection(port, "in", "out", identity(6), port) for port in neuron.ports)
    return Program(
        "test",
        (Population("in", (2, 3), Input(8)), Population("out", (2, 3), neuron, 1, **more)),
        tuple(links),
        (InputPort("in"),),
        (OutputPort("out"),),
        steps=4,
    )


def array(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


GOOD: dict[str, Neuron] = {
    "affine": Affine(8, True, array(1, 2, 2**16 - 1), np.full((2, 1), 40), array(-5, 0, 5)),
    "gate": Gate(8, False, 1, 2, 3, 0, array(4, 5, 6), 7),
    "silu": Silu(24),
    "layer-norm": LayerNorm(8, (3, 2), 1, 1 << 40, gain=np.full((2, 3), -(2**16)), offset=-(2**40)),
    "softmax": Softmax(8, (6,), 2**16 - 1, 40),
    "synchrony": Synchrony(8, array(0, 4096, 1), TABLE * (2**16 - 1), 40, np.full((2, 3), 2**23 - 1), 40),
    "register": Register(24, array(1, 2, 3)),
    "sigma": Sigma(24, 2**23 - 1),
    "delta": Delta(1, start=-(2**23) + 1),
}

BAD: dict[str, tuple[Neuron, str]] = {
    "no bits": (Affine(0), "bits"),
    "bits beyond a state": (Affine(25), "bits"),
    "negative bits": (Softmax(-1, (6,)), "bits"),
    "signed without bits": (Sigma(0), "bits"),
    "signed product without bits": (ProductNeuron(0, signed=True), "bits"),
    "multiplier of 17 bits": (Affine(8, multiplier=2**16), "multiplier"),
    "negative multiplier": (Affine(8, multiplier=array(1, -1, 1)), "multiplier"),
    "shift of 41": (Affine(8, shift=41), "shift"),
    "negative shift": (Affine(8, shift=array(0, -1, 0)), "shift"),
    "gate multiplier": (Gate(8, gate_multiplier=2**16), "gate_multiplier"),
    "gate shift": (Silu(8, gate_shift=array(1, 1, 41)), "gate_shift"),
    "silu multiplier by another shape": (Silu(8, multiplier=array(1, 2)), "shape"),
    "bias of another shape": (Gate(8, gate_bias=np.zeros((3, 2), dtype=np.int64)), "shape"),
    "bias of more axes than neurons": (Affine(8, bias=np.zeros((1, 2, 3), dtype=np.int64)), "shape"),
    "real multiplier": (Affine(8, multiplier=0.5), "multiplier"),  # type: ignore[arg-type]
    "real array": (Affine(8, multiplier=np.array([0.5])), "multiplier"),  # type: ignore[arg-type]
    "bias beyond 40 bits": (Affine(8, bias=2**41), "bias"),
    "view of another size": (LayerNorm(8, (2, 2), 0, 1), "view"),
    "view without axes": (Softmax(8, ()), "view"),
    "view with a negative axis": (Softmax(8, (-2, -3)), "view"),
    "view of ones": (Softmax(8, (1,) * 40 + (6,)), "view"),
    "view that is a number": (Softmax(8, 6), "view"),  # type: ignore[arg-type]
    "axis beyond the view": (LayerNorm(8, (2, 3), 2, 1), "axis"),
    "negative axis": (LayerNorm(8, (2, 3), -1, 1), "axis"),
    "epsilon of nothing": (LayerNorm(8, (6,), 0, 0), "epsilon"),
    "huge epsilon": (LayerNorm(8, (6,), 0, (1 << 40) + 1), "epsilon"),
    "gain of 17 bits": (LayerNorm(8, (6,), 0, 1, gain=array(1, 2**16 + 1, 1)), "gain"),
    "gain shift": (LayerNorm(8, (6,), 0, 1, gain_shift=-1), "gain_shift"),
    "offset beyond 40 bits": (LayerNorm(8, (6,), 0, 1, offset=-(2**40) - 1), "offset"),
    "factor above one": (Synchrony(8, 4097, TABLE), "factor"),
    "negative factor": (Synchrony(8, array(0, -1, 0), TABLE), "factor"),
    "exponent of a left shift": (Synchrony(8, 1, TABLE, -1), "exponent"),
    "table of a row": (Synchrony(8, 1, TABLE[0]), "table"),
    "table without rows": (Synchrony(8, 1, TABLE[:0]), "table"),
    "table of too many rows": (
        Synchrony(8, 1, np.broadcast_to(TABLE[:1], (MAX_ROWS + 1, 6))),
        "table",
    ),
    "table of other columns": (Synchrony(8, 1, TABLE[:, :5]), "table"),
    "table that would broadcast": (Synchrony(8, 1, TABLE[:, :1]), "table"),
    "table of 17 bits": (Synchrony(8, 1, TABLE * 2**16), "table"),
    "table of halves": (Synchrony(8, 1, TABLE / 2), "table"),  # type: ignore[arg-type]
    "start beyond the state": (Synchrony(8, 1, TABLE, start=2**23), "start"),
    "register's start": (Register(8, array(0, 0, -(2**23))), "start"),
    "sigma's start": (Sigma(24, 2**23), "start"),
    "delta's start of another shape": (Delta(1, start=array(1, 2)), "shape"),
    "delta's exponent": (Delta(1, spike_exp=2**39), "spike_exp"),
    "negative state exponent": (Delta(1, state_exp=-1), "state_exp"),
    "product shifted left": (ProductNeuron(8, exponent=-1), "exponent"),
    "shift of a membrane": (CubaLif(1, 1, 1, shift=25), "shift"),
    "unknown reset": (CubaLif(1, 1, 1, reset="never"), "reset"),
    "messages of 2^40 bits": (CubaLi(emit_bits=1 << 40), "emit_bits"),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_ends_of_every_range_are_accepted_and_run(name: str) -> None:
    program = around(GOOD[name], updates=4)
    wellformed.check(program)
    rng = np.random.default_rng(0)
    result = oracle.run(program, {"in": rng.integers(0, 256, (2, 4, 2, 3))})
    message = GOOD[name].message
    clipped = name not in ("register", "sigma", "delta")
    assert not clipped or message.low <= result.outputs["out"].min() <= result.outputs["out"].max() <= message.high


@pytest.mark.parametrize("name", BAD)
def test_a_parameter_out_of_bounds_is_refused(name: str) -> None:
    neuron, what = BAD[name]
    with pytest.raises(ValueError, match=what):
        wellformed.check(around(neuron))


def test_every_parameter_of_the_graded_kinds_is_bounded_by_a_test() -> None:
    # bias, gate_bias are bounded as every integer is; signed is a truth
    tested = {what for _, what in BAD.values()}
    for neuron in GOOD.values():
        missing = {f.name for f in fields(neuron)} - tested - {"signed", "gate_bias", "vth", "cum_error"}
        assert not missing


def change(**changes: Any) -> Callable[[Program], Program]:
    return lambda p: replace(p, **changes)


def output(**changes: Any) -> Callable[[Program], Program]:
    return lambda p: replace(p, outputs=(replace(p.outputs[0], **changes),))


def stopping(updates: Any) -> Callable[[Program], Program]:
    return lambda p: replace(p, populations=(p.populations[0], replace(p.populations[1], updates=updates)))


def product(**changes: Any) -> Callable[[Program], Program]:
    made = Product("p", "in", "in", "out", (6,), (6,), "i,i->i", delay=1)
    return lambda p: replace(p, products=(replace(made, **changes),))


PROGRAMS: dict[str, tuple[Callable[[Program], Program], str]] = {
    "no updates": (stopping(0), "0 updates"),
    "negative updates": (stopping(-1), "updates"),
    "more updates than steps": (stopping(5), "5 updates in 4 model steps"),
    "updates of a text": (stopping("1"), "updates"),
    "updates of a truth": (stopping(True), "updates"),
    "unknown decode": (output(decode="guess"), "decode"),
    "answer of another size": (output(answer=(4,)), "answer"),
    "answer of negative axes": (output(answer=(-2, -3)), "answer"),
    "answer of many ones": (output(answer=(1,) * 40 + (6,)), "answer"),
    "answer that is a number": (output(answer=6), "answer"),
    "output without scale": (output(scale=0.0), "scale"),
    "output with an infinite scale": (output(scale=float("inf")), "scale"),
    "no such port": (lambda p: replace(p, projections=(replace(p.projections[0], port="gate"),)), "port"),
    "a port of another model's": (product(port="left"), "port"),
    "an input as target": (product(target="in"), "port"),
    "a product shifted left": (product(exponent=-1), "exponent"),
    "an unknown realisation": (product(realisation="magic"), "realisation"),
    "an index twice in an operand": (product(left_view=(6, 1), right_view=(6,), subscripts="ii,i->i"), "index"),
    "an index twice in the result": (product(left_view=(6,), right_view=(6,), subscripts="i,i->ii"), "index"),
    "a view of many ones": (
        product(left_view=(*(1,) * 20, 6), subscripts="abcdefghjklmnopqrstui,i->i"),
        "axes",
    ),
    "an input population that no input serves": (change(inputs=()), "input"),
    "an input twice": (change(inputs=(InputPort("in"), InputPort("in"))), "two inputs"),
    "a product with a population's name": (product(name="out"), "share a name"),
    "many axes": (
        lambda p: replace(p, populations=tuple(replace(q, shape=(*(1,) * 40, 6)) for q in p.populations)),
        "axes",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_out_of_bounds_is_refused(name: str) -> None:
    alter, what = PROGRAMS[name]
    good = around(Affine(8))
    wellformed.check(good)
    with pytest.raises(ValueError, match=what):
        wellformed.check(alter(good))


def test_products_as_they_should_be_are_accepted() -> None:
    wellformed.check(product()(around(Affine(8))))


def test_an_input_population_must_be_served() -> None:
    program = around(Affine(8))
    more = replace(program, populations=(*program.populations, Population("other", (1,), Input())))
    with pytest.raises(ValueError, match="no input serves 'other'"):
        wellformed.check(more)


# -- files -------------------------------------------------------------------------------------------------------------


def written(program: Program, path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """An artifact whose manifest was edited by hand."""
    artifact.save(Artifact(program), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    tree = json.loads(entries[MANIFEST])
    edit(tree)
    entries[MANIFEST] = json.dumps(tree).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())


def test_tuples_and_starts_survive_a_file(tmp_path: Path) -> None:
    program = around(LayerNorm(8, (3, 2), 1, 7, gain=array(1, 2, 3)), updates=2)
    program = replace(program, outputs=(OutputPort("out", answer=(2, 3), decode="most-certain", scale=0.25),))
    artifact.save(Artifact(program), tmp_path / "a.ndp")
    back = artifact.load(tmp_path / "a.ndp").program
    neuron = back.population("out").neuron
    assert isinstance(neuron, LayerNorm)
    assert (neuron.view, neuron.axis, neuron.epsilon) == ((3, 2), 1, 7)
    assert (back.population("out").updates, back.population("in").updates) == (2, None)
    assert (back.outputs[0].answer, back.outputs[0].decode, back.outputs[0].scale) == ((2, 3), "most-certain", 0.25)


def test_a_program_of_format_1_is_read_as_it_was_meant(tmp_path: Path) -> None:
    def old(tree: dict[str, Any]) -> None:
        tree["program_format"] = 1
        for population in tree["program"]["populations"]:
            del population["updates"]
        for port in tree["program"]["outputs"]:
            del port["answer"], port["scale"]
        del tree["program"]["populations"][1]["neuron"]["start"]

    written(around(Sigma()), tmp_path / "a.ndp", old)
    back = artifact.load(tmp_path / "a.ndp").program
    assert back.population("out").updates is None
    assert back.population("out").neuron.start == 0
    assert (back.outputs[0].answer, back.outputs[0].scale) == ((), 1.0)


def test_a_reader_of_format_1_would_refuse_this_one_by_its_version() -> None:
    # it would not know `updates` and stop with an error about a field; a higher version says "upgrade" instead
    assert serial.FORMAT == 2


@pytest.mark.parametrize(
    "name", ["view of another size", "shift of 41", "table of other columns", "start beyond the state"]
)
def test_a_hostile_file_ends_as_a_coded_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wellformed, "check", lambda program: None)
        artifact.save(Artifact(around(BAD[name][0])), tmp_path / "a.ndp")
    with pytest.raises(UsageError) as caught:
        artifact.load(tmp_path / "a.ndp")
    assert caught.value.code == "ND701"


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(graded=True))
def test_random_programs_survive_a_tree(case: Case) -> None:
    program, _ = case
    wellformed.check(program)
    tree, arrays = serial.to_parts(program)
    again, more = serial.to_parts(serial.from_parts(json.loads(json.dumps(tree)), arrays))
    assert again == tree
    assert all(np.array_equal(arrays[name], more[name]) for name in arrays)
