"""The command line's contract: names, exit codes, streams, JSON fields. What goes wrong: test_cli_errors.py."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runner import call, spawn
from small_artifact import PROGRAM, X, write

from ndeploy import __version__, oracle, runners
from ndeploy.decode import encode

Capsys = pytest.CaptureFixture[str]
COMMANDS = (
    "compile",
    "quantize",
    "run",
    "verify",
    "compare",
    "energy",
    "test",
    "board",
    "inspect",
    "targets",
    "explain",
    "doctor",
)


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path)


# -- help, version, usage ----------------------------------------------------------------------------------------------


def test_help_answers_in_half_a_second_and_names_every_command() -> None:
    def busy() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    # processor time: a wall clock would measure what else the machine does
    began = busy()
    done = spawn("--help")
    assert busy() - began < 0.5
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)


def test_version(capsys: Capsys) -> None:
    assert call(capsys, "--version").out == f"ndeploy {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: Capsys, command: str) -> None:
    done = call(capsys, command, "--help")
    assert done.code == 0
    assert "--json" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "a.ndp"],
        ["bogus"],
        ["run"],
        ["run", "a.ndp"],
        ["run", "a.ndp", "--data", "d.npz", "--bogus"],
        ["run", "a.ndp", "--data", "d.npz", "--limit", "0"],
        ["run", "a.ndp", "--data", "d.npz", "--batch", "x"],
        ["run", "a.ndp", "--data", "d.npz", "--trace"],
        ["run", "a.ndp", "--data", "d.npz", "--lava-mode", "odd"],
        ["verify", "a.ndp", "--data", "d.npz", "--against", "sim"],
        ["compile", "m.nir"],
        ["compile", "m.nir", "--target", "loihi2", "--bits", "17"],
        ["compile", "m.nir", "--target", "loihi2", "--activation-bits", "1"],
        ["compile", "m.nir", "--target", "loihi2", "--activation-bits", "17"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "delta"],
        ["compile", "m.nir", "--target", "loihi2", "--threshold", "0.1"],
        ["compile", "m.nir", "--target", "loihi2", "--threshold", "auto"],
        ["compile", "m.nir", "--target", "loihi2", "--accuracy-budget", "1"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--threshold", "coarse"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--threshold", "1"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--threshold", "-0.1"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--threshold", "nan"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--accuracy-budget", "nan"],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--accuracy-budget", "-1"],
        [
            "compile",
            "m.nir",
            "--target",
            "loihi2",
            "--coding",
            "sigma-delta",
            "--threshold",
            ".1",
            "--accuracy-budget",
            "1",
        ],
        ["compile", "m.nir", "--target", "loihi2", "--coding", "sigma-delta", "--threshold", "auto"],
        ["compile", "m.nir", "--target", "loihi2", "--steps", "0"],
        ["compile", "m.nir", "--target", "loihi2", "--attention", "none"],
        ["compile", "m.nir", "--target", "loihi2", "--mode", "fast"],
        ["compile", "m.nir", "--target", "loihi2", "--set", "dt"],
        ["compile", "m.nir", "--target", "loihi2", "--set", "=1"],
        ["compile", "m.nir", "--target", "loihi2", "--set", "dt=1", "--set", "dt=2"],
        ["targets", "show"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_2_on_stderr(capsys: Capsys, arguments: list[str]) -> None:
    done = call(capsys, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Error" in done.err or done.error


def test_completion_is_offered() -> None:
    done = spawn("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.code == 0
    assert "COMP_WORDS" in done.out


def complete(words: str) -> list[str]:
    """What bash would offer after these words."""
    env = {
        **os.environ,
        "_NDEPLOY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    code = "import sys; sys.argv = ['ndeploy']; from ndeploy.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_completion_knows_commands_targets_and_codes() -> None:
    assert complete("ndeploy ver") == ["verify"]
    assert complete("ndeploy targets show loi") == ["loihi1", "loihi2"]
    assert "ND701" in complete("ndeploy explain ND70")
    assert complete("ndeploy compile m.nir --target loihi") == ["loihi1", "loihi2"]


# -- run, verify, energy, inspect on a small artifact ------------------------------------------------------------------


def test_run_reports_what_the_oracle_does(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    done = call(capsys, "run", model, "--data", data, "--runner", "oracle", "--json")
    fields = json.loads(done.out)
    expected = oracle.run(PROGRAM, encode(PROGRAM, X))
    assert done.code == 0
    assert fields["schema"] == "ndeploy.run/1"
    assert fields["samples"] == 5
    assert fields["accuracy"] == 0.8
    assert fields["sequence_accuracy"] is None
    assert fields["predictions"] == expected.predictions.tolist()
    assert fields["synaptic_ops"] == sum(v.sum() for v in expected.counts.synaptic_ops.values()) / 5
    assert fields["neuron_updates"] == 4 * (3 + 2)
    assert fields["spikes"] == sum(v.sum() for v in expected.counts.spikes.values()) / 5
    assert fields["chip_steps"] == PROGRAM.chip_steps_per_sample
    assert fields["samples_per_second"] == pytest.approx(5 / fields["seconds"])


def test_run_without_labels_has_no_accuracy(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    np.savez(data, x=X)
    assert json.loads(call(capsys, "run", model, "--data", data, "--json").out)["accuracy"] is None


def test_run_limit(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    fields = json.loads(call(capsys, "run", model, "--data", data, "--limit", 2, "--batch", 1, "--json").out)
    assert fields["samples"] == len(fields["predictions"]) == 2


def test_run_text_shows_accuracy_classes_and_layers(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    done = call(capsys, "run", model, "--data", data)
    assert done.code == 0
    for word in ("80.00 %", "4 of 5", "predictions", "hidden", "cuba-lif", "synaptic operations", "samples/s"):
        assert word in done.out


@pytest.mark.parametrize("runner", ["oracle", "sim"])
def test_run_output_holds_outputs_predictions_and_traces(
    capsys: Capsys, small: tuple[Path, Path], tmp_path: Path, runner: str
) -> None:
    model, data = small
    path = tmp_path / "r.npz"
    done = call(capsys, "run", model, "--data", data, "--runner", runner, "--output", path, "--trace", "--batch", 2)
    assert done.code == 0
    expected = oracle.run(PROGRAM, encode(PROGRAM, X))
    with np.load(path) as written:
        assert np.array_equal(written["output"], expected.outputs["out"])
        assert np.array_equal(written["predictions"], expected.predictions)
        assert {"spikes/hidden", "state/hidden/u", "state/hidden/v", "spikes/out"} <= set(written)
        for key in written:
            if "/" in key:
                assert written[key].dtype.kind == "i"
                assert np.array_equal(written[key], expected.traces[key])


def test_verify_agrees(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    done = call(capsys, "verify", model, "--data", data, "--against", "oracle", "--json")
    fields = json.loads(done.out)
    assert done.code == 0
    assert (fields["schema"], fields["samples"], fields["populations"]) == ("ndeploy.verify/1", 5, 2)
    assert (fields["compared"], fields["mismatches"], fields["first_mismatch"]) == (5 * 4 * 3 * 5, 0, None)
    assert "0 mismatches" in call(capsys, "verify", model, "--data", data, "--against", "oracle").out


def test_verify_finds_a_wrong_runner(capsys: Capsys, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from test_cli_verify import corrupt

    model, data = small
    wrong = corrupt({"state/hidden/v": ((3, 2, 1), 7)})
    monkeypatch.setattr(runners, "BUILT_IN", {**runners.BUILT_IN, "wrong": wrong})
    done = call(capsys, "verify", model, "--data", data, "--against", "wrong", "--json")
    first = json.loads(done.out)["first_mismatch"]
    assert done.code == 1
    assert (first["population"], first["variable"], first["sample"]) == ("hidden", "v", 3)
    assert (first["model_step"], first["chip_step"], first["neuron"]) == (2, 3, [1])
    assert first["values"]["wrong"] == first["values"]["sim"] + 7
    done = call(capsys, "verify", model, "--data", data, "--against", "wrong")
    assert done.code == 1
    assert "1 mismatch:" in done.out
    assert "lif1" in done.out


def test_energy_prices_exact_counts(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    fields = json.loads(call(capsys, "energy", model, "--data", data, "--json").out)
    assert {"energy_joules", "latency_seconds", "terms", "unpriced"} <= set(fields)
    assert set(fields["energy_joules"]) == {"low", "nominal", "high"}
    for term in fields["terms"]:
        assert term["low"] <= term["nominal"] <= term["high"]
        assert term["source"]
    assert "estimate" in call(capsys, "energy", model, "--data", data).out


def test_inspect_an_artifact(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, _ = small
    fields = json.loads(call(capsys, "inspect", model, "--json").out)
    assert fields["schema"] == "ndeploy.inspect/1"
    assert [p["name"] for p in fields["populations"]] == ["in", "hidden", "out"]
    assert (fields["parameters"], fields["synapses"], fields["weight_bits_mean"]) == (18, 18, 8.0)
    text = call(capsys, "inspect", model).out
    for word in ("hidden", "cuba-lif", "dense", "small.nir", "dt", "default"):
        assert word in text


def test_inspect_escapes_what_files_say(capsys: Capsys, tmp_path: Path) -> None:
    """A population's name is a stranger's text: neither markup nor terminal control."""
    from dataclasses import replace

    from ndeploy import artifact

    name = "[bold]x[/bold]"
    p = PROGRAM.populations
    program = replace(
        PROGRAM,
        populations=(p[0], replace(p[1], name=name), p[2]),
        projections=(
            replace(PROGRAM.projections[0], target=name),
            replace(PROGRAM.projections[1], source=name),
        ),
    )
    artifact.save(artifact.Artifact(program), tmp_path / "a.ndp")
    assert name in call(capsys, "inspect", tmp_path / "a.ndp").out


def test_inspect_spells_out_control_characters(capsys: Capsys, tmp_path: Path) -> None:
    from ndeploy import artifact

    meta = {"settings": {"\x1b]0;title\x07": {"value": "\x1b[2J", "from": "[red]"}}}
    artifact.save(artifact.Artifact(PROGRAM, {}, None, meta), tmp_path / "a.ndp")
    text = call(capsys, "inspect", tmp_path / "a.ndp").out
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    assert "[red]" in text


@pytest.mark.parametrize("which", [0, 1])
def test_an_output_never_overwrites_an_input(capsys: Capsys, small: tuple[Path, Path], which: int) -> None:
    model, data = small
    before = small[which].read_bytes()
    done = call(capsys, "run", model, "--data", data, "--output", small[which])
    assert done.code == 2
    assert small[which].read_bytes() == before
    done = call(capsys, "compile", model, "--target", "loihi2", "-o", small[which], "--calibration", data)
    assert done.code == 2
    assert small[which].read_bytes() == before


# -- targets, doctor ---------------------------------------------------------------------------------------------------


def test_targets(capsys: Capsys) -> None:
    listed = json.loads(call(capsys, "targets", "--json").out)
    assert {"loihi1", "loihi2", "lava"} <= {t["name"] for t in listed["targets"]}
    assert "loihi2" in call(capsys, "targets").out


@pytest.mark.parametrize("name", ["loihi1", "loihi2", "lava"])
def test_every_number_of_a_target_has_a_source(capsys: Capsys, name: str) -> None:
    shown = json.loads(call(capsys, "targets", "show", name, "--json").out)
    entries = [*shown["limits"].values(), *shown["energy"], *shown["time"]]
    assert all(entry["source"] and entry["status"] for entry in entries)
    assert "sources" in call(capsys, "targets", "show", name).out


def test_doctor(capsys: Capsys) -> None:
    done = call(capsys, "doctor", "--json")
    fields = json.loads(done.out)
    states = {check["name"]: check["state"] for check in fields["checks"]}
    assert done.code == 0
    assert fields["works"] is True
    assert states["python"] == states["numpy"] == states["runner sim"] == "ok"
    assert all(check["mend"] for check in fields["checks"] if check["state"] != "ok")


def test_doctor_says_how_to_mend(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("h5py", "lava-nc"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    done = call(capsys, "doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert done.code == 1
    assert checks["h5py"]["state"] == "broken"
    assert checks["lava-nc"]["state"] == "missing"
    assert "lava-nc==0.10.0" in checks["lava-nc"]["mend"]
