"""`ndeploy compile` on the example networks: what it writes and reports, and what bad input ends as."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from cli_runner import Done, call, spawn, start
from fixtures_path import ROOT

from ndeploy import artifact
from ndeploy.ir import serial

Capsys = pytest.CaptureFixture[str]
NIR = ROOT / "examples" / "mnist-conv" / "model.nir"
NIR_DATA = ROOT / "examples" / "mnist-conv" / "eval.npz"
NIR_CALIBRATION = ROOT / "examples" / "mnist-conv" / "calibration.npz"
SPIKFORMER = ROOT / "examples" / "spikformer" / "checkpoint.pth.tar"
FIELDS = {
    "artifact",
    "target",
    "parameters",
    "weight_bits_mean",
    "weight_memory_bytes",
    "cores",
    "cores_lower_bound",
    "chips",
    "chip_steps_per_sample",
    "embedded_ops",
    "sha256",
}


def compiling(capsys: Capsys, model: Path, output: Path, *more: object) -> Done:
    return call(capsys, "compile", model, "--target", "loihi2", "-o", output, *more)


@pytest.fixture
def conv(capsys: Capsys, tmp_path: Path) -> Path:
    path = tmp_path / "conv.ndp"
    done = compiling(capsys, NIR, path, "--steps", 6, "--calibration", NIR_CALIBRATION)
    assert done.code == 0, done.err
    return path


def test_json_fields(capsys: Capsys, tmp_path: Path) -> None:
    path = tmp_path / "m.ndp"
    done = compiling(capsys, NIR, path, "--steps", 6, "--calibration", NIR_CALIBRATION, "--json")
    fields = json.loads(done.out)
    assert fields.keys() >= FIELDS
    assert fields["schema"] == "ndeploy.compile/1"
    assert fields["artifact"] == str(path)
    assert fields["target"] == "loihi2"
    assert fields["sha256"] == artifact.sha256(path.read_bytes())
    assert fields["embedded_ops"] == []
    assert 0 < fields["cores_lower_bound"] <= fields["cores"]
    assert fields["parameters"] == sum(
        p.synapses.weight.size for p in artifact.load(path).program.projections if not p.unit
    )


def test_compile_then_run_and_verify(capsys: Capsys, conv: Path) -> None:
    fields = json.loads(call(capsys, "run", conv, "--data", NIR_DATA, "--limit", 200, "--json").out)
    assert fields["accuracy"] > 0.85
    done = call(capsys, "verify", conv, "--data", NIR_DATA, "--limit", 2, "--against", "oracle", "--json")
    assert (done.code, json.loads(done.out)["mismatches"]) == (0, 0)


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(conv: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (NIR, NIR_CALIBRATION):
        shutil.copy(file, elsewhere / file.name)
    arguments = ("--target", "loihi2", "--steps", 6, "--calibration", NIR_CALIBRATION.name)
    done = spawn("compile", NIR.name, *arguments, cwd=elsewhere, PYTHONHASHSEED="7")
    assert done.code == 0, done.err
    assert (elsewhere / "model.loihi2.ndp").read_bytes() == conv.read_bytes()


def test_an_artifact_says_nothing_of_this_machine(conv: Path) -> None:
    with zipfile.ZipFile(conv) as archive:
        manifest = archive.read(artifact.MANIFEST).decode()
    for word in (str(ROOT), str(conv.parent), os.uname().nodename):
        assert word not in manifest
    meta = json.loads(manifest)["meta"]
    assert meta["source"] == {"name": "model.nir", "sha256": artifact.sha256(NIR.read_bytes())}
    assert all({"value", "from"} == set(entry) for entry in meta["settings"].values())


@pytest.mark.parametrize("model", [NIR, SPIKFORMER], ids=["nir", "spikformer"])
def test_an_emitted_graph_compiles_to_the_same_program(capsys: Capsys, tmp_path: Path, model: Path) -> None:
    calibration = model.parent / "calibration.npz"
    more = ["--calibration", calibration, *(["--steps", "6"] if model is NIR else [])]
    first, second, graph = tmp_path / "a.ndp", tmp_path / "b.ndp", tmp_path / "graph.nir"
    done = compiling(capsys, model, first, "--emit-nir", graph, *more)
    assert done.code == 0, done.err
    done = compiling(capsys, graph, second, *more)
    assert done.code == 0, done.err
    parts = [serial.to_parts(artifact.load(path).program) for path in (first, second)]
    for tree, _ in parts:
        for key in ("name", "meta"):
            del tree[key]
    assert parts[0][0] == parts[1][0]
    assert all(np.array_equal(parts[0][1][name], parts[1][1][name]) for name in parts[0][1])
    assert artifact.load(first).network == graph.read_bytes()


# -- bad input ---------------------------------------------------------------------------------------------------------


def refused(done: Done, folder: Path, codes: set[str], exit_code: int) -> None:
    """A coded error, and no artifact: neither whole nor half."""
    assert done.code == exit_code, done.err
    assert done.error in codes, done.err
    assert done.out == ""
    assert not [name for name in os.listdir(folder) if "out.ndp" in name]


@pytest.mark.parametrize("model", [NIR, SPIKFORMER], ids=["nir", "spikformer"])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_models(capsys: Capsys, tmp_path: Path, model: Path, keep: float) -> None:
    content = model.read_bytes()
    path = tmp_path / model.name
    path.write_bytes(content[: int(len(content) * keep)])
    done = compiling(capsys, path, tmp_path / "out.ndp", "--steps", 4)
    refused(done, tmp_path, {"ND102", "ND110", "ND111", "ND112", "ND113", "ND114", "ND115", "ND121"}, 2)


@pytest.mark.parametrize("suffix", [".nir", ".net", ".pth", ".pth.tar", ".pt", ".onnx"])
@pytest.mark.parametrize("head", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02", b"random"])
def test_garbage_models(capsys: Capsys, tmp_path: Path, suffix: str, head: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(head + np.random.default_rng(0).bytes(2000))
    done = compiling(capsys, path, tmp_path / "out.ndp", "--steps", 4)
    assert done.error.startswith("ND1")
    refused(done, tmp_path, {done.error}, 2)


class Evil:
    """Unpickling this would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code(capsys: Capsys, tmp_path: Path) -> None:
    import torch

    trap = tmp_path / "trap"
    state = torch.load(SPIKFORMER, weights_only=False)["state_dict"]
    for number, save in enumerate((torch.save, lambda o, p: p.write_bytes(pickle.dumps(o)))):
        path = tmp_path / f"evil{number}.pth"
        save({"state_dict": state, "args": Evil(trap)}, path)
        done = compiling(capsys, path, tmp_path / "out.ndp")
        refused(done, tmp_path, {"ND102", "ND121", "ND122"}, 2)
        assert not trap.exists()


@pytest.mark.parametrize(
    ("more", "code", "exit_code"),
    [
        (["--steps", "6", "--set", "colour=red"], "ND205", 2),
        (["--steps", "6", "--set", "source=nowhere"], "ND205", 2),
        (["--steps", "6", "--set", "reset=maybe"], "ND205", 2),
        (["--steps", "6", "--set", "dt=-1"], "ND205", 2),
        (["--steps", "6", "--set", "dt=NaN"], "ND205", 2),
        (["--steps", "6", "--set", "weird=1", "--set", "odd=2"], "ND205", 2),
        ([], "ND204", 2),
    ],
)
def test_bad_settings(capsys: Capsys, tmp_path: Path, more: list[str], code: str, exit_code: int) -> None:
    done = compiling(capsys, NIR, tmp_path / "out.ndp", "--set", "input_bits=8", "--set", "input_scale=0.01", *more)
    refused(done, tmp_path, {code}, exit_code)


@pytest.mark.parametrize("scale", ["0", "-1", "inf", "x"])
def test_bad_input_scale(capsys: Capsys, tmp_path: Path, scale: str) -> None:
    done = compiling(capsys, NIR, tmp_path / "out.ndp", "--steps", 6, "--set", f"input_scale={scale}")
    refused(done, tmp_path, {"ND205"}, 2)


def test_more_steps_than_memory(capsys: Capsys, tmp_path: Path) -> None:
    done = compiling(capsys, NIR, tmp_path / "out.ndp", "--steps", 10**9, "--calibration", NIR_CALIBRATION)
    refused(done, tmp_path, {"ND707"}, 1)


def test_unknown_target(capsys: Capsys, tmp_path: Path) -> None:
    done = call(capsys, "compile", NIR, "--target", "loihi9", "-o", tmp_path / "out.ndp")
    refused(done, tmp_path, {"ND401"}, 2)


@pytest.mark.parametrize(
    ("x", "code"),
    [
        (np.zeros((4, 3, 28, 28)), "ND502"),
        (np.full((4, 1, 28, 28), np.nan), "ND501"),
        (np.zeros((0, 1, 28, 28)), "ND503"),
    ],
)
def test_bad_calibration(capsys: Capsys, tmp_path: Path, x: np.ndarray[Any, Any], code: str) -> None:
    np.savez(tmp_path / "c.npz", x=x)
    done = compiling(capsys, NIR, tmp_path / "out.ndp", "--steps", 6, "--calibration", tmp_path / "c.npz")
    refused(done, tmp_path, {code}, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(capsys: Capsys, tmp_path: Path, value: float) -> None:
    path = tmp_path / "model.nir"
    shutil.copy(NIR, path)
    with h5py.File(path, "r+") as file:
        weights: list[str] = []
        file.visit(lambda name: weights.append(name) if name.endswith("/weight") else None)
        file[weights[0]][(0,) * file[weights[0]].ndim] = value
    done = compiling(capsys, path, tmp_path / "out.ndp", "--steps", 6, "--calibration", NIR_CALIBRATION)
    assert done.code in (1, 2)
    refused(done, tmp_path, {"ND304"}, done.code)


def test_unwritable_output(capsys: Capsys, tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "absent" / "m.ndp", Path("/proc/m.ndp")):
        done = compiling(capsys, NIR, output, "--steps", 6, "--calibration", NIR_CALIBRATION)
        assert (done.code, done.error) == (2, "ND702")


def test_no_space_left(capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = compiling(capsys, NIR, tmp_path / "out.ndp", "--steps", 6, "--calibration", NIR_CALIBRATION)
    refused(done, tmp_path, {"ND702"}, 2)
    assert "No space left" in done.err


def test_an_artifact_is_no_model(capsys: Capsys, conv: Path, tmp_path: Path) -> None:
    refused(compiling(capsys, conv, tmp_path / "out.ndp"), tmp_path, {"ND102"}, 2)


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_an_interrupted_lava_run_leaves_nothing_behind(conv: Path) -> None:
    shared = set(os.listdir("/dev/shm"))
    process = start("verify", conv, "--data", NIR_DATA, "--limit", 64, "--against", "lava")
    deadline = time.monotonic() + 60
    while not (started := children(process.pid)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.5)  # into the middle of it: Lava builds, then runs sample after sample
    started = children(process.pid) or started
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive
    assert set(os.listdir("/dev/shm")) - shared == set()


def test_sixteen_bits_of_weight_are_for_targets_that_hold_them(capsys: Capsys, tmp_path: Path) -> None:
    done = compiling(capsys, NIR, tmp_path / "m.ndp", "--steps", 2, "--calibration", NIR_CALIBRATION, "--bits", 16)
    assert (done.code, done.error) == (1, "ND411")
    assert not (tmp_path / "m.ndp").exists()


def test_the_report_says_what_delta_coding_saved() -> None:
    from ndeploy.report.compiled import coding

    assert coding(None) == coding({}) == coding({"kind": "none"}) == coding([1]) == {}
    measured = {"events_share": 0.1075, "synaptic_ops": 9e5, "synaptic_ops_at_threshold_0": 1e6}
    chosen = {"kind": "sigma-delta", "threshold": 0.03125, "chosen": "auto", "accuracy_budget": 0.5}
    assert coding({**chosen, **measured, "calibration_score": 0.9889})["coding"] == (
        "sigma-delta, threshold 0.03125 of the largest message (auto: the coarsest within 0.5 points): 10.75 % of the "
        "dense events of the coded synapses are left, 10.00 % of all synaptic operations saved against threshold 0, "
        "98.89 % right on calibration data"
    )
    assert coding({"kind": "sigma-delta", "threshold": 0.1, "accuracy_budget": None})["coding"].endswith("(given)")
    assert coding({"kind": "sigma-delta", "threshold": "1", "synaptic_ops": []})["coding"] == "sigma-delta"
