"""Trained networks: simulator = Lava, native and fused, every population, every model step."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from fixtures_path import fixture
from lava_cases import needs_lava

from ndeploy import data
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.runners import RunnerOptions, find
from ndeploy.verify import verify

pytestmark = [
    needs_lava,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]
MODELS = {
    "nir/mnist-conv": ("model.nir", 6, 64),
    "nir/braille": ("model.nir", 256, 32),
    "spikformer": ("checkpoint.pth.tar", None, 8),
}


def mismatches(name: str, mode: str, samples: int | None = None) -> int:
    file, steps, full = MODELS[name]
    folder: Path = fixture(name)
    options = CompileOptions(steps=steps, calibration=folder / "calibration.npz")
    program = compile_model(folder / file, options).program
    evaluation = data.load(folder / "eval.npz", samples or full)
    runners = {"sim": find("sim"), "lava": find("lava")}
    return verify(program, evaluation, runners, RunnerOptions(lava_mode=mode)).mismatches


def test_a_few_samples() -> None:
    assert mismatches("nir/mnist-conv", "native", 4) == 0


@pytest.mark.long
@pytest.mark.parametrize("mode", ["native", "fused"])
@pytest.mark.parametrize("name", MODELS)
def test_all_samples(name: str, mode: str) -> None:
    assert mismatches(name, mode) == 0
