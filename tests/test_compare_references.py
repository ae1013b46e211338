"""What `ndeploy compare --against` takes: a compile of today, a board and its recorded trace, Lava."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import call
from compared_networks import compiled, data, delayed, flipped, network
from fixtures_path import ROOT
from lava_cases import needs_lava

from ndeploy import artifact, sim
from ndeploy.cli.compile import make_artifact
from ndeploy.decode import encode
from ndeploy.graph.write import nir_bytes
from ndeploy.pipeline import CompileOptions, compile_model

Capsys = pytest.CaptureFixture[str]
CTM = ROOT / "examples" / "ctm"


@dataclass(frozen=True)
class Files:
    """folder; clean: a Continuous Thought Machine that learned parity, compiled; its calibration data lie beside it."""

    folder: Path
    clean: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("references")
    calibration = folder / "parity-calibration.npz"
    calibration.write_bytes((CTM / calibration.name).read_bytes())
    asked = CompileOptions(calibration=calibration)
    made = compile_model(CTM / "parity.pt", asked)
    clean = make_artifact(CTM / "parity.pt", asked, made, nir_bytes(made.network))
    artifact.save(clean, folder / "clean.ndp")
    return Files(folder, folder / "clean.ndp")


def planted(files: Files, name: str, **fields: Any) -> Path:
    """The artifact with the lowest bit of one weight flipped, and fields of its record changed."""
    held = artifact.load(files.clean)
    q = next(q for q in held.program.projections if q.target == "synapse" and not q.unit)
    at = tuple(int(i) for i in np.argwhere(q.synapses.weight == 5)[0])
    changed = replace(held, program=flipped(held.program, q.name, at, 0), **fields)
    artifact.save(changed, files.folder / name)
    return files.folder / name


def compared(capsys: Capsys, path: Path, *rest: Any) -> dict[str, Any]:
    given = ("--data", CTM / "parity-eval.npz", "--limit", 3, "--json")
    found: dict[str, Any] = json.loads(call(capsys, "compare", path, *given, *rest).out)
    return found


def test_a_compile_of_today_is_the_artifact(capsys: Capsys, files: Files) -> None:
    found = compared(capsys, files.clean, "--against", "compile")
    assert found["equal"]
    assert found["exact"]
    beside = compared(capsys, files.clean)
    assert "gives this program, integer for integer" in beside["today"]
    assert beside["mistakes"] is None
    assert not any(cause["beyond"] for cause in beside["ablation"]["causes"])


def test_the_lowest_bit_of_a_graded_weight_is_told_from_rounding(capsys: Capsys, files: Files) -> None:
    path = planted(files, "bit.ndp")
    beside = compared(capsys, path)
    assert beside["cause"] == "weights"
    assert compared(capsys, path, "--against", "compile")["cause"] == "weights"
    assert "gives another program: weights" in beside["today"]
    assert "1 of " in beside["mistakes"]["causes"][0]["findings"][0]
    page = files.folder / "page.html"
    text = call(capsys, "compare", path, "--data", CTM / "parity-eval.npz", "--limit", 1, "--html", page).out
    html = page.read_text()
    assert "Beside a compile of today" in html
    assert "Not drawn" in html  # of graded layers, those whose values are hardly apart
    assert "matched" not in html  # nor columns that tell of spikes
    assert "a compile of today gives other weights of 'synapse'" in " ".join(text.split())


def test_without_calibration_data_nothing_is_compiled(capsys: Capsys, files: Files) -> None:
    folder = files.folder / "elsewhere"
    folder.mkdir()
    path = folder / "alone.ndp"
    path.write_bytes(files.clean.read_bytes())
    samples = folder / "eval.npz"
    samples.write_bytes((CTM / "parity-eval.npz").read_bytes())
    rest = ("compare", path, "--data", samples, "--limit", 1)
    found = json.loads(call(capsys, *rest, "--ablation", 0, "--json").out)
    assert "give them as --calibration" in found["today"]
    assert call(capsys, *rest, "--against", "compile").error == "ND653"
    assert call(capsys, *rest, "--calibration", CTM / "parity-eval.npz").error == "ND654"
    given = ("--calibration", CTM / "parity-calibration.npz", "--ablation", 0)
    assert "integer for integer" in compared(capsys, path, *given)["today"]


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({"finetune": {"name": "a.npz", "sha256": ""}}, "were trained"),
        ({"quantisation": {}}, "were searched for"),
        ({"options": None}, "does not say how"),
        ({"options": {"mode": "sideways"}}, "damaged"),
        ({"options": {"bits": [8]}}, "damaged"),
        ({"options": {"method": "../uniform"}}, "damaged"),
    ],
)
def test_what_is_not_compiled_again(capsys: Capsys, files: Files, meta: dict[str, Any], why: str) -> None:
    held = artifact.load(files.clean)
    path = planted(files, "other.ndp", meta={**held.meta, **meta})
    found = call(capsys, "compare", path, "--data", CTM / "parity-eval.npz", "--limit", 1, "--against", "compile")
    assert found.error == "ND653"
    assert why in " ".join(found.err.split())


def small(folder: Path) -> tuple[Path, Path]:
    """An artifact with delays by synapse, and its data."""
    made, samples = delayed()
    artifact.save(artifact.Artifact(compiled(made), {}, nir_bytes(made), {"target": "lava"}), folder / "small.ndp")
    np.savez(folder / "d.npz", x=samples.x[:3])
    return folder / "small.ndp", folder / "d.npz"


def test_against_a_board(capsys: Capsys, tmp_path: Path) -> None:
    path, samples = small(tmp_path)
    board = f"exec:{sys.executable} -m ndeploy board serve --stdio --runner oracle"
    rest = ("--data", samples, "--against", "board", "--board", board, "--json")
    found = json.loads(call(capsys, "compare", path, *rest).out)
    assert found["equal"]
    assert found["against"] == "board"


def test_against_the_trace_of_a_board(capsys: Capsys, tmp_path: Path) -> None:
    path, samples = small(tmp_path)
    board = f"exec:{sys.executable} -m ndeploy board serve --stdio --runner oracle"
    run = ("run", path, "--data", samples, "--runner", "board", "--board", board, "--trace", "--output")
    assert call(capsys, *run, tmp_path / "trace.npz").code == 0
    arrays = dict(np.load(tmp_path / "trace.npz"))
    arrays["spikes/hidden"][2, 5, 1] ^= 1
    np.savez(tmp_path / "bent.npz", **arrays)
    for name, code in (("trace.npz", 0), ("bent.npz", 1)):
        done = call(capsys, "compare", path, "--data", samples, "--against", tmp_path / name, "--json")
        assert done.code == code
    first = json.loads(done.out)["first_divergence"]
    assert (first["layer"], first["sample"], first["step"], first["neuron"]) == ("hidden", 2, 5, [1])


def test_a_trace_that_names_its_runner(capsys: Capsys, tmp_path: Path) -> None:
    path, samples = small(tmp_path)
    program = artifact.load(path).program
    traces = sim.run(program, encode(program, data().x[:3]), trace=True).traces
    rest = ("compare", path, "--data", samples, "--json", "--against")
    for told, shown in ((b"board", ", recorded from board"), (b"\x1b[2J", ", recorded from \\x1b[2J"), (b"", "")):
        np.savez(tmp_path / "t.npz", runner=np.frombuffer(told, np.uint8), **traces)
        found = json.loads(call(capsys, *rest, tmp_path / "t.npz").out)
        assert found["equal"]
        assert found["against"] == f"the trace t.npz{shown}"


@needs_lava
def test_against_lava(capsys: Capsys, tmp_path: Path) -> None:
    artifact.save(artifact.Artifact(compiled(network()), {}, None, {"target": "lava"}), tmp_path / "n.ndp")
    np.savez(tmp_path / "d.npz", x=data().x[:2])
    done = call(capsys, "compare", tmp_path / "n.ndp", "--data", tmp_path / "d.npz", "--against", "lava", "--json")
    assert done.code == 0
    assert json.loads(done.out)["equal"]
