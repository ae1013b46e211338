"""`ndeploy compare` from the outside: what it prints, its JSON, its page, its exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cli_runner import call
from compared_networks import META, compiled, data, flipped, network, with_neuron

from ndeploy import artifact, sim
from ndeploy.decode import encode
from ndeploy.graph.write import nir_bytes
from ndeploy.ir.program import Program

Capsys = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Files:
    """clean, planted: artifacts; planted has another decay in 'out'. data, trace: of the clean program."""

    folder: Path
    clean: Path
    planted: Path
    data: Path
    trace: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("compare")
    made = network()
    program = compiled(made)
    planted = with_neuron(program, "out", dv=int(np.asarray(program.population("out").neuron.dv).flat[0]) + 300)
    for name, chosen in (("clean", program), ("planted", planted)):
        save(folder / f"{name}.ndp", chosen, nir_bytes(made))
    given = data()
    np.savez(folder / "d.npz", x=given.x, y=given.y)
    traces = sim.run(program, encode(program, given.x), trace=True).traces
    np.savez(folder / "trace.npz", **traces)
    return Files(folder, folder / "clean.ndp", folder / "planted.ndp", folder / "d.npz", folder / "trace.npz")


def save(path: Path, program: Program, network: bytes | None) -> None:
    artifact.save(artifact.Artifact(program, {}, network, META), path)


def test_against_float(capsys: Capsys, files: Files) -> None:
    done = call(capsys, "compare", files.clean, "--data", files.data)
    assert done.code == 0
    assert "parts from the float network in layer" in done.out
    assert "weights" in done.out
    found = json.loads(call(capsys, "compare", files.clean, "--data", files.data, "--json").out)
    assert found["schema"] == "ndeploy.compare/1"
    assert found["samples"] == 12
    assert found["cause"] in ("weights", "bias")
    assert not any(cause["beyond"] for cause in found["ablation"]["causes"])
    assert [layer["name"] for layer in found["layers"]] == ["hidden", "out"]
    assert sum(cause["share"] for cause in found["ablation"]["causes"]) == pytest.approx(1.0)


def test_a_planted_decay_is_named_against_float_and_against_the_other(capsys: Capsys, files: Files) -> None:
    found = json.loads(call(capsys, "compare", files.planted, "--data", files.data, "--json").out)
    assert found["cause"] == "decay"
    assert found["ablation"]["causes"][0]["layers"] == {"out": 1.0}
    done = call(capsys, "compare", files.planted, "--data", files.data, "--against", files.clean)
    assert done.code == 1
    assert "the one thing that differs is decay of 'out'" in " ".join(done.out.split())


def test_equal_sides(capsys: Capsys, files: Files) -> None:
    for other in (files.clean, files.trace, "oracle"):
        done = call(capsys, "compare", files.clean, "--data", files.data, "--against", other, "--json")
        assert done.code == 0, other
        found = json.loads(done.out)
        assert found["equal"]
        assert found["exact"]
        assert found["first_divergence"] is None
        assert found["agreement"] == 1.0


def test_a_trace_of_another_run_parts_where_it_parts(capsys: Capsys, files: Files) -> None:
    arrays = dict(np.load(files.trace))
    spikes = arrays["spikes/out"].copy()
    spikes[3, 7, 2] ^= 1
    path = files.folder / "bent.npz"
    np.savez(path, **(arrays | {"spikes/out": spikes}))
    done = call(capsys, "compare", files.clean, "--data", files.data, "--against", path, "--json")
    assert done.code == 1
    first = json.loads(done.out)["first_divergence"]
    assert (first["layer"], first["sample"], first["step"], first["neuron"]) == ("out", 3, 7, [2])


@pytest.mark.parametrize("change", ["gone", "short", "shape", "floats"])
def test_traces_that_do_not_fit(capsys: Capsys, files: Files, change: str) -> None:
    arrays = dict(np.load(files.trace))
    if change == "gone":
        del arrays["state/hidden/v"]
    elif change == "short":
        arrays = {name: value[:5] for name, value in arrays.items()}
    elif change == "shape":
        arrays["spikes/out"] = arrays["spikes/out"][:, :-1]
    else:
        arrays["spikes/out"] = arrays["spikes/out"].astype(np.float64)
    path = files.folder / f"{change}.npz"
    np.savez(path, **arrays)
    done = call(capsys, "compare", files.clean, "--data", files.data, "--against", path)
    assert (done.code, done.error) == (2, "ND652")


def test_a_difference_without_effect_is_told(capsys: Capsys, files: Files) -> None:
    program = artifact.load(files.clean).program
    for name, vth in (("silent", (1 << 23) - 1), ("silent2", (1 << 23) - 99)):
        save(files.folder / f"{name}.ndp", with_neuron(program, "out", vth=vth), None)
    both = (files.folder / "silent2.ndp", "--data", files.data, "--against", files.folder / "silent.ndp")
    found = json.loads(call(capsys, "compare", *both, "--json").out)
    assert found["equal"]
    assert any("vth of 'out': 8388509, in the reference 8388607" in note for note in found["notes"])


def test_a_membrane_parts_before_a_spike_does(capsys: Capsys, files: Files) -> None:
    program = artifact.load(files.clean).program
    silent = with_neuron(program, "out", vth=(1 << 23) - 1)
    save(files.folder / "quiet.ndp", silent, None)
    name = next(q.name for q in program.projections if q.target == "out")
    save(files.folder / "quiet2.ndp", flipped(silent, name, (0, 0)), None)
    both = (files.folder / "quiet2.ndp", "--data", files.data, "--against", files.folder / "quiet.ndp")
    found = json.loads(call(capsys, "compare", *both, "--json").out)
    assert not found["equal"]
    assert found["first_divergence"]["layer"] == "out"
    assert found["cause"] == "weights"


def test_agreement_decides_where_it_is_asked_for(capsys: Capsys, files: Files) -> None:
    rest = ("--data", files.data, "--ablation", "0", "--json")
    assert call(capsys, "compare", files.planted, *rest).code == 0
    share = json.loads(call(capsys, "compare", files.planted, *rest).out)["agreement"]
    assert call(capsys, "compare", files.planted, *rest, "--min-agreement", share).code == 0
    assert call(capsys, "compare", files.planted, *rest, "--min-agreement", 1.0).code == (share < 1.0)
    assert call(capsys, "compare", files.planted, *rest, "--min-agreement", 2).code == 2


def test_artifacts_of_other_bits_are_set_beside_their_float_networks(capsys: Capsys, files: Files) -> None:
    path = files.folder / "four.ndp"
    save(path, compiled(network(), bits=4), nir_bytes(network()))
    rest = ("--data", files.data, "--against", path)
    done = call(capsys, "compare", files.clean, *rest)
    assert done.code == 1
    assert "sets the two most apart" in " ".join(done.out.split())
    found = json.loads(call(capsys, "compare", files.clean, *rest, "--json").out)
    assert found["cause"] == "weights"
    assert "another unit" in found["today"]
    own, theirs = found["ablation"]["program"]["distance"], found["reference_ablation"]["program"]["distance"]
    assert 0 < own < theirs
    assert call(capsys, "compare", files.clean, *rest, "--html", files.folder / "bits.html").code == 1
    assert "Each beside its float network" in (files.folder / "bits.html").read_text()


def test_artifacts_of_other_bits_without_a_network_name_no_cause(capsys: Capsys, files: Files) -> None:
    path = files.folder / "bare.ndp"
    save(path, compiled(network(), bits=4), None)
    found = json.loads(call(capsys, "compare", files.clean, "--data", files.data, "--against", path, "--json").out)
    assert found["cause"] is None
    assert "no float network is kept" in found["no_ablation"]
    assert found["layers"]


def test_usage(capsys: Capsys, files: Files) -> None:
    assert call(capsys, "compare", files.clean, "--data", files.data, "--against", "sim").code == 2
    done = call(capsys, "compare", files.clean, "--data", files.data, "--against", "nobody")
    assert (done.code, done.error) == (2, "ND601")
    assert "give float, compile, an artifact (.ndp), a recorded run (.npz), or a runner: choose one of" in done.err
    for name in ("none.npz", "none.ndp"):
        done = call(capsys, "compare", files.clean, "--data", files.data, "--against", files.folder / name)
        assert (done.code, done.error) == (2, "ND101")
    path = files.folder / "nameless.ndp"
    save(path, artifact.load(files.clean).program, None)
    assert call(capsys, "compare", path, "--data", files.data).error == "ND709"
    for wrong in (
        ("--html", files.data),
        ("--board", "exec:true"),
        ("--against", "oracle", "--calibration", files.data),
    ):
        assert call(capsys, "compare", files.clean, "--data", files.data, *wrong).code == 2


def test_the_page_is_whole_and_escapes_names(capsys: Capsys, files: Files) -> None:
    page = files.folder / "page.html"
    assert call(capsys, "compare", files.planted, "--data", files.data, "--html", page).code == 0
    text = page.read_text()
    assert text.count("<figure") == 2
    assert "decay" in text
    assert "<script" not in text
    assert "http://" not in text
    assert "src=" not in text


def test_hostile_names_stay_text(files: Files) -> None:
    from dataclasses import replace

    from ndeploy.divergence.compare import compare
    from ndeploy.divergence.sides import plain_simulator
    from ndeploy.report.compare import report
    from ndeploy.report.compare_page import page

    evil = "<img src=x onerror=1>[bold]\x1b[2J"
    program = artifact.load(files.planted).program
    populations = tuple(replace(p, name=evil) if p.name == "out" else p for p in program.populations)
    projections = tuple(replace(q, target=evil) if q.target == "out" else q for q in program.projections)
    outputs = tuple(replace(o, population=evil) for o in program.outputs)
    own = replace(program, populations=populations, projections=projections, outputs=outputs)
    reference = with_neuron(own, evil, dv=0)
    sides = plain_simulator(own, 1), plain_simulator(reference, 1)
    found = compare(own, data(), *sides, against=evil, engine=None, no_engine="none was asked for")
    text = page(found)
    assert "<img" not in text
    assert "\x1b" not in text
    assert report(found)
