"""The command line on a trained CTM: compile, run, stop early, compare with the float traces tick by tick."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runner import call, spawn
from fixtures_path import fixture

pytestmark = pytest.mark.long
Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module", params=["parity", "digits", "sort"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(task, artifact)."""
    task = request.param
    path = tmp_path_factory.mktemp("ctm") / f"{task}.ndp"
    model, data = fixture(f"ctm/{task}/checkpoint.pt"), fixture(f"ctm/{task}/calibration.npz")
    done = spawn("compile", model, "--target", "loihi2", "--calibration", data, "-o", path, "--json")
    assert done.code == 0, done.err
    return task, path


def test_every_signal_stays_near_the_recorded_one(capsys: Capsys, compiled: tuple[str, Path]) -> None:
    task, model = compiled
    done = call(capsys, "verify", model, "--against", fixture(f"ctm/{task}/trace.npz"), "--min-sqnr", 0, "--json")
    assert (done.code, done.error) == (0, "")
    levels = json.loads(done.out)["signals"]
    wanted = {"pre", "post", "synch_out"} | (set() if task == "sort" else {"synch_action", "attention"})
    assert set(levels) == wanted
    for name, row in levels.items():
        assert np.mean(row) > 18, name
    assert json.loads(done.out)["missing"] == []


def test_the_reference_logits_agree(capsys: Capsys, compiled: tuple[str, Path]) -> None:
    task, model = compiled
    trace = fixture(f"ctm/{task}/reference.npz")
    done = call(capsys, "verify", model, "--against", trace, "--min-sqnr", 0, "--json")
    assert done.code == 0
    agreement = json.loads(done.out)["agreement"]
    assert agreement["answers"] > 0.7
    assert min(agreement["argmax"]) > 0.7


def test_the_float_network_in_the_artifact_is_the_recorded_one(capsys: Capsys, compiled: tuple[str, Path]) -> None:
    """Both float sides see the same integers: their tables must be the same but for float32's own rounding."""
    task, model = compiled
    trace = fixture(f"ctm/{task}/trace.npz")
    recorded = json.loads(call(capsys, "verify", model, "--against", trace, "--min-sqnr", 0, "--json").out)
    own = call(capsys, "verify", model, "--against", "float", "--data", trace, "--min-sqnr", 0, "--json")
    found = json.loads(own.out)
    assert (own.code, found["samples"]) == (0, 8)
    for name, row in recorded["signals"].items():
        assert found["signals"][name] == pytest.approx(row, abs=0.1), name


def test_certainty_trades_accuracy_for_ticks(capsys: Capsys, compiled: tuple[str, Path]) -> None:
    task, model = compiled
    data = fixture(f"ctm/{task}/eval.npz")
    arguments = ("run", model, "--data", data, "--limit", 100, "--json")
    if task == "sort":
        done = call(capsys, *arguments, "--stop-certainty", 0.9)
        assert (done.code, done.error) == (2, "ND708")
        return
    plain = json.loads(call(capsys, *arguments).out)
    found = {p: json.loads(call(capsys, *arguments, "--stop-certainty", p).out) for p in (0.5, 0.9, 0.999)}
    ticks = [found[p]["ticks_mean"] for p in sorted(found)]
    assert ticks == sorted(ticks)
    assert ticks[0] < ticks[-1] <= plain["model_steps"]
    for entry in found.values():
        assert entry["all_ticks"]["accuracy"] == plain["accuracy"]
        assert 0 <= entry["saved"]["energy"] < 1
        assert entry["synaptic_ops"] <= plain["synaptic_ops"]
    assert found[0.999]["accuracy"] >= plain["accuracy"] - 0.05


def test_inspect_says_what_a_tick_takes(capsys: Capsys, compiled: tuple[str, Path]) -> None:
    _, model = compiled
    time = json.loads(call(capsys, "inspect", model, "--json").out)["schedule"]
    assert time["longest_loop"]["chip_steps"] == time["period"] * time["longest_loop"]["model_steps"]
    assert {"pre", "post", "z"} <= set(time["longest_loop"]["populations"])
    assert f"a tick takes {time['period']} chip steps: its longest loop is" in time["words"]
