"""`ndeploy quantize` and the budgets of `ndeploy compile`: what they find, keep, refuse, and leave when interrupted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
from cli_runner import Done, call, spawn, start

from ndeploy import artifact
from ndeploy.cli import searching
from ndeploy.errors import RefusedError
from ndeploy.search.journal import Journal

Capsys = pytest.CaptureFixture[str]
Files = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return small_model.write(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def drawn(files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes, Done, list[str]]:
    """A frontier: its JSON object, its picture, how the command ended, and what lies in the folder afterwards."""
    model, calibration, data = files
    folder = tmp_path_factory.mktemp("drawn")
    more = (
        "--calibration",
        calibration,
        "--data",
        data,
        "--frontier",
        "--budgets",
        "3,2.5",
        "--svg",
        "f.svg",
        "--json",
    )
    done = spawn("quantize", model, "-t", "loihi2", *more, cwd=folder)
    assert done.code == 0, done.err
    return json.loads(done.out), (folder / "f.svg").read_bytes(), done, os.listdir(folder)


def compiling(capsys: Capsys, files: Files, output: Path, *more: object) -> Done:
    arguments = ("--target", "loihi2", "--calibration", files[1], "-o", output)
    return call(capsys, "compile", files[0], *arguments, *more)


# -- the frontier ------------------------------------------------------------------------------------------------------


def test_a_frontier_has_a_point_for_every_budget_and_the_uniform_ones(drawn: Any) -> None:
    found = drawn[0]
    assert found["schema"] == "ndeploy.quantize/1"
    points = found["frontier"]
    bits = {m: sorted(p["mean_bits"] for p in points if p["method"] == m) for m in ("uniform", "bit-budget")}
    assert bits["uniform"] == [2, 3, 4, 5, 6, 7, 8]
    assert [b <= most for b, most in zip(bits["bit-budget"], (2.5, 3.0), strict=True)] == [True, True]
    assert all(0 <= p["evaluated"] <= 1 and 0 <= p["accuracy"] <= 1 for p in points)
    assert all(p["weights"].keys() == {"first", "second"} for p in points)
    assert found["float_accuracy"] > 0.85


def test_what_was_searched_is_never_worse_than_uniform_at_its_budget(drawn: Any) -> None:
    points = drawn[0]["frontier"]
    searched = max((p for p in points if p["method"] == "bit-budget"), key=lambda p: p["mean_bits"])
    uniform = next(p for p in points if p["method"] == "uniform" and p["mean_bits"] == 3)
    assert searched["loss"] <= uniform["loss"]


def test_a_frontier_is_drawn_and_nothing_else_is_left(drawn: Any) -> None:
    assert b"<svg" in drawn[1]
    assert b"prefers-color-scheme" in drawn[1]
    assert drawn[3] == ["f.svg"]


def test_the_table_of_a_frontier(
    capsys: Capsys, files: Files, drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same points as the JSON object's, and another run gives the same picture."""
    model, calibration, data = files
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "again.svg"
    more = ("--calibration", calibration, "--data", data, "--frontier", "--budgets", "2.5,3", "--svg", picture)
    done = call(capsys, "quantize", model, "-t", "loihi2", *more)
    assert done.code == 0, done.err
    assert picture.read_bytes() == drawn[1]
    rows = [line.split() for line in done.out.splitlines() if line.strip().startswith(("uniform", "bit-budget"))]
    assert [(row[0], row[1]) for row in rows] == [(p["method"], f"{p['mean_bits']:.2f}") for p in drawn[0]["frontier"]]
    assert "float" in done.out
    assert "ND508" not in done.err


# -- one program -------------------------------------------------------------------------------------------------------


def test_quantize_says_why_and_writes_nothing(
    capsys: Capsys, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(capsys, "quantize", files[0], "-t", "loihi2", "--data", files[2], "--bit-budget", "3", "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert os.listdir(tmp_path) == []
    assert found["quantisation"]["mean_bits"] == found["weight_bits_mean"] <= 3
    assert {layer["name"] for layer in found["quantisation"]["layers"]} == {"first", "second"}
    assert all(layer["why"] for layer in found["quantisation"]["layers"])
    assert found["frontier"] is None
    assert found["samples"] == 48
    # one file for both is worth a word
    assert "ND508" in {diagnostic["code"] for diagnostic in found["diagnostics"]}
    assert "warning[ND508]" in done.err


def test_quantize_without_labels_counts_agreement(
    capsys: Capsys, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(files[2]) as data:
        np.savez(tmp_path / "bare.npz", x=data["x"])
    more = ("--data", tmp_path / "bare.npz", "--bit-budget", "6")
    done = call(capsys, "quantize", files[0], "-t", "loihi2", *more)
    assert done.code == 0, done.err
    assert "agreement with the float network on --data" in done.out
    assert "calibration accuracy" not in done.out


# -- compile within a budget -------------------------------------------------------------------------------------------


def test_an_artifact_keeps_why(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "m.ndp"
    done = compiling(capsys, files, path, "--bit-budget", "3", "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    meta = artifact.load(path).meta
    assert fields["quantisation"] == meta["quantisation"]
    assert meta["options"]["method"] == "bit-budget"
    assert meta["options"]["budget"] == {"mean_bits": 3.0}
    widths = {layer["name"]: layer["bits"] for layer in meta["quantisation"]["layers"]}
    program = artifact.load(path).program
    assert {p.name: p.weight_bits for p in program.projections if not p.unit} == widths
    assert fields["weight_bits_mean"] <= 3
    assert os.listdir(tmp_path) == ["m.ndp"]
    shown = call(capsys, "inspect", path).out
    for layer in meta["quantisation"]["layers"]:
        assert layer["why"].split()[0] in shown
    assert "widths of weights, and why" in shown


def test_the_search_is_the_same_however_it_is_done(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    plain, other = tmp_path / "a.ndp", tmp_path / "b.ndp"
    assert compiling(capsys, files, plain, "--bit-budget", "3").code == 0
    done = compiling(capsys, files, other, "--bit-budget", "3", "--workers", 2, "--journal", tmp_path / "j.jsonl")
    assert done.code == 0, done.err
    assert plain.read_bytes() == other.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.ndp", "b.ndp"]


def test_a_memory_budget_is_what_the_placement_takes(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", "--memory-budget", "200B", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["weight_memory_bytes"] <= 200


@pytest.mark.parametrize(("option", "nearest"), [("--bit-budget=1.5", "2"), ("--memory-budget=20B", "160B")])
def test_a_budget_that_nothing_meets(capsys: Capsys, files: Files, tmp_path: Path, option: str, nearest: str) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", option)
    assert (done.code, done.error) == (1, "ND306")
    assert f"the nearest that can is {nearest}" in done.err
    assert not (tmp_path / "m.ndp").exists()
    assert "kept in" not in done.err  # it was refused before anything was measured


MADE = ("m.ndp", "plain.ndp")


@pytest.mark.parametrize("labelled", [True, False])
def test_training_changes_the_program_and_leaves_one_file(
    capsys: Capsys, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(files[1]) as data:
        # other labels than the network's answers: there is much to learn
        np.savez(tmp_path / "train.npz", x=data["x"], **({"y": (data["y"] + 1) % 3} if labelled else {}))
    # a rate that learns much: by how little a timid one gains depends on how the machine sums floats
    more = ("--bits", 2, "--finetune", "train.npz", "--epochs", 20, "--rate", 0.1)
    done = compiling(capsys, files, Path("m.ndp"), *more)
    assert done.code == 0, done.err
    assert ("warning[ND507]" in done.err) != labelled
    assert compiling(capsys, files, Path("plain.ndp"), "--bits", 2).code == 0
    assert sorted(os.listdir(tmp_path)) == [*MADE, "train.npz"]
    trained, plain = artifact.load(Path("m.ndp")), artifact.load(Path("plain.ndp"))
    assert trained.meta["finetune"]["name"] == "train.npz"
    assert "20 epochs on train.npz" in call(capsys, "inspect", "m.ndp").out
    assert "fine-tuned" not in call(capsys, "inspect", "plain.ndp").out
    assert (trained.meta["options"]["epochs"], plain.meta["options"]["epochs"]) == (20, 0)
    assert {p.weight_bits for p in trained.program.projections} == {2}
    if labelled:
        right = [json.loads(call(capsys, "run", m, "--data", "train.npz", "--json").out)["accuracy"] for m in MADE]
        assert right[0] > right[1] + 0.1


def test_without_a_budget_nothing_is_searched(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", "--json")
    meta = artifact.load(tmp_path / "m.ndp").meta
    assert json.loads(done.out)["quantisation"] is meta["quantisation"] is None
    assert (meta["options"]["method"], meta["options"]["bits"]) == ("uniform", 8)


# -- usage -------------------------------------------------------------------------------------------------------------

COMPILE = ["compile", "m.nir", "-t", "loihi2"]
QUANTIZE = ["quantize", "m.nir", "-t", "loihi2", "--data", "d.npz"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*COMPILE, "--bits", "4", "--bit-budget", "4"], "--bits"),
        ([*COMPILE, "--activation-bits", "8", "--spike-bits", "6"], "--activation-bits"),
        ([*COMPILE, "--method", "uniform", "--memory-budget", "64KiB"], "--memory-budget"),
        ([*COMPILE, "--method", "uniform", "--accuracy-budget", "1"], "--accuracy-budget"),
        ([*COMPILE, "--method", "taken-over", "--bit-budget", "3"], "--bit-budget"),
        ([*COMPILE, "--method", "taken-over", "--workers", "2"], "--workers"),
        ([*COMPILE, "--epochs", "3"], "--finetune"),
        ([*COMPILE, "--rate", "0.1"], "--finetune"),
        ([*COMPILE, "--finetune", "d.npz", "--rate", "0"], "--rate"),
        ([*COMPILE, "--finetune", "d.npz", "--rate", "nan"], "--rate"),
        ([*COMPILE, "--finetune", "d.npz", "--epochs", "0"], "--epochs"),
        ([*COMPILE, "--steps", "auto"], "--ops-budget"),
        ([*COMPILE, "--steps", "0"], "--steps"),
        ([*COMPILE, "--steps", "1" + 30 * "0"], "--steps"),
        ([*COMPILE, "--steps", "some"], "--steps"),
        ([*COMPILE, "--workers", "2"], "--workers"),
        ([*COMPILE, "--journal", "j.jsonl"], "--journal"),
        ([*COMPILE, "--seed", "-1"], "--seed"),
        ([*COMPILE, "--bit-budget", "3", "--journal", "m.nir"], "--journal"),
        ([*COMPILE, "--bit-budget", "3", "--finetune", "x.ndp", "-o", "x.ndp"], "--output"),
        ([*QUANTIZE], "--frontier"),
        ([*QUANTIZE, "--budgets", "2,3"], "--frontier"),
        ([*QUANTIZE, "--svg", "f.svg", "--bit-budget", "3"], "--frontier"),
        ([*QUANTIZE, "--frontier", "--bit-budget", "3"], "--budgets"),
        ([*QUANTIZE, "--frontier", "--spike-bits", "6"], "--budgets"),
        ([*QUANTIZE, "--frontier", "--method", "uniform"], "--method"),
        ([*QUANTIZE, "--frontier", "--steps", "auto"], "--steps"),
        ([*QUANTIZE, "--frontier", "--budgets", "2,3,2.0"], "twice"),
        ([*QUANTIZE, "--frontier", "--budgets", ",".join(str(n) for n in range(1, 99))], "--budgets"),
        ([*QUANTIZE, "--frontier", "--svg", "d.npz"], "--svg"),
        (["quantize", "m.nir", "-t", "loihi2", "--frontier"], "--data"),
    ],
    ids=lambda value: " ".join(value[4:])[:60] if isinstance(value, list) else "",
)
def test_contradictions(capsys: Capsys, arguments: list[str], said: str) -> None:
    done = call(capsys, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err


@pytest.mark.parametrize(
    "option",
    [
        "--bit-budget=many",
        "--bit-budget=-1",
        "--bit-budget=nan",
        "--memory-budget=64 potatoes",
        "--memory-budget=0",
        "--spike-bits=0",
        "--ops-budget=40X",
        "--energy-budget=20uW",
        "--accuracy-budget=101",
    ],
)
def test_budgets_that_are_none(capsys: Capsys, files: Files, tmp_path: Path, option: str) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", option)
    assert (done.code, done.error) == (2, "ND307"), done.err
    assert os.listdir(tmp_path) == []


def test_an_unknown_method(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", "--method", "magic")
    assert (done.code, done.error) == (2, "ND205")
    assert "bit-budget, " in done.err
    assert "uniform" in done.err


def test_training_data_that_are_not_there(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", "--bit-budget", "3", "--finetune", tmp_path / "absent.npz")
    assert (done.code, done.error) == (2, "ND101")


def test_a_method_that_does_not_search_explains_nothing(capsys: Capsys, files: Files) -> None:
    done = call(capsys, "quantize", files[0], "-t", "loihi2", "--data", files[2], "--method", "uniform")
    assert (done.code, done.error) == (2, "ND205")


@pytest.mark.parametrize("kind", ["shape", "nan", "labels"])
def test_bad_data(capsys: Capsys, files: Files, tmp_path: Path, kind: str) -> None:
    x = np.zeros((4, 6, 8))
    y = np.zeros((4, 2) if kind == "labels" else 4, dtype=np.int64)
    if kind == "shape":
        x = np.zeros((4, 6, 9))
    if kind == "nan":
        x[0] = np.nan
    np.savez(tmp_path / "bad.npz", x=x, y=y)
    for calibration, data in ((files[1], tmp_path / "bad.npz"), (tmp_path / "bad.npz", files[2])):
        more = ("--calibration", calibration, "--data", data, "--bit-budget", "3")
        done = call(capsys, "quantize", files[0], "-t", "loihi2", *more)
        assert (done.code, done.error) == (2, "ND501" if kind == "nan" else "ND502"), (kind, data, done.err)


def test_a_journal_is_no_place_for_another_file(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear reader,\n")
    done = compiling(capsys, files, tmp_path / "m.ndp", "--bit-budget", "3", "--journal", letter)
    assert (done.code, done.error) == (2, "ND710")
    assert letter.read_text() == "Dear reader,\n"
    assert "kept in" not in done.err


# -- interruptions -----------------------------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    model, calibration, _ = small_model.write(tmp_path, samples=160, steps=100)
    arguments = ("compile", model, "-t", "loihi2", "--calibration", calibration, "--bit-budget", "2.6")
    process = start(*arguments, cwd=tmp_path)
    journal = tmp_path / "small.loihi2.ndp.search.jsonl"
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert f"what was measured is kept in {journal.name}" in err.replace("\n", "")
    assert "interrupted" in err
    assert not (tmp_path / "small.loihi2.ndp").exists()
    assert journal.is_file()
    done = spawn(*arguments, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert not journal.exists()
    fields = json.loads(done.out)
    assert any("measurements are taken from it" in note for note in fields["notes"])
    # the artifact does not tell that it was interrupted
    whole = spawn(*arguments, "-o", "whole.ndp", "--json", cwd=tmp_path)
    assert json.loads(whole.out)["sha256"] == fields["sha256"]


def test_what_was_measured_is_kept_however_a_search_fails(capsys: Capsys, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"

    def interrupted(error: Callable[[], BaseException]) -> None:
        with searching.keeping(str(path)), Journal(path, "k") as journal:
            journal.put("t", {"loss": 1.0})
            raise error()

    for error in (KeyboardInterrupt, SystemExit, ValueError):
        with pytest.raises(error):
            interrupted(error)
        assert "is kept in" in capsys.readouterr().err
    with pytest.raises(RefusedError):
        interrupted(partial(RefusedError, "ND306", "no", help="more"))
    assert "the same command with another budget goes on from there" in " ".join(capsys.readouterr().err.split())
    with searching.keeping(str(path)), Journal(path, "k") as journal:
        assert journal.get("t") == {"loss": 1.0}
        journal.finish()
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="x"), searching.keeping(str(path)):
        raise ValueError("x")
    assert capsys.readouterr().err == ""
