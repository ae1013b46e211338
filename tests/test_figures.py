"""The figures the project promises for the networks it was given: accuracy at 8 bits, and Lava bit for bit.

Each runs on the network in `examples/` too where there is one, so that a clone without the fixtures still checks it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures_path import ROOT, fixture

from ndeploy.data import load
from ndeploy.decode import for_data
from ndeploy.evaluate import evaluate
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.runners import RunnerOptions, find
from ndeploy.verify import verify

NETWORKS = {
    # file, settings, float accuracy on all 1,000 samples, points that may be lost (the figures)
    "nir/mnist-conv": ("model.nir", {"source": "snntorch"}, 6, 0.922, 0.005),
    "nir/braille": ("model.nir", {"source": "snntorch"}, None, 0.963, 0.010),
    "spikformer": ("checkpoint.pth.tar", {}, None, 0.968, 0.005),
}
EXAMPLES = {"nir/mnist-conv": "mnist-conv", "spikformer": "spikformer"}
CACHE: dict[tuple[Path, str], object] = {}


def compiled(folder: Path, name: str, target: str = "loihi2"):
    """Compiled once a session for each target."""
    file, settings, steps, _, _ = NETWORKS[name]
    if (folder, target) not in CACHE:
        options = CompileOptions(
            target=target, settings=settings, steps=steps, calibration=folder / "calibration.npz", bits=8
        )
        CACHE[folder, target] = compile_model(folder / file, options)
    return CACHE[folder, target]


def accuracy(folder: Path, name: str, limit: int | None = None) -> float:
    data = load(folder / "eval.npz", limit)
    program = for_data(compiled(folder, name).program, data.x)
    found = evaluate(program, data, find("sim"), RunnerOptions())
    assert not any(found.result.overflow.values()), "a value left its width on the evaluation data"
    assert found.accuracy is not None
    return found.accuracy


@pytest.mark.parametrize("name", NETWORKS)
def test_accuracy_at_8_bits(name):
    _, _, _, real, lost = NETWORKS[name]
    assert accuracy(fixture(name), name) >= real - lost


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_keep_their_accuracy(name):
    assert accuracy(ROOT / "examples" / EXAMPLES[name], name, 200) >= NETWORKS[name][3] - 0.02


@pytest.mark.parametrize(
    ("name", "mode", "limit"),
    [
        ("nir/mnist-conv", "native", 64),
        ("nir/braille", "native", 4),
        pytest.param("nir/braille", "native", 32, marks=pytest.mark.long),
        ("spikformer", "fused", 8),
        ("spikformer", "native", 2),
        pytest.param("spikformer", "native", 8, marks=pytest.mark.long),
    ],
)
def test_lava_agrees_on_every_population_and_chip_step(name, mode, limit):
    folder = fixture(name)
    data = load(folder / "eval.npz", limit)
    program = for_data(compiled(folder, name).program, data.x)
    options = RunnerOptions(lava_mode=mode, time_limit=300.0)
    found = verify(program, data, {name: find(name) for name in ("sim", "lava")}, options)
    assert found.mismatches == 0
    assert found.samples == limit
    assert found.compared > limit * program.steps * sum(p.size for p in program.populations if p.name != "input")


def test_lowering_the_bits_lowers_the_memory_and_not_below_reason():
    folder = ROOT / "examples" / "mnist-conv"
    memory = []
    for bits in (8, 6, 4):
        options = CompileOptions(
            settings={"source": "snntorch"}, steps=6, calibration=folder / "calibration.npz", bits=bits
        )
        made = compile_model(folder / "model.nir", options)
        memory.append(made.placed.weight_memory_bytes)
        weights = np.concatenate([p.synapses.weight.reshape(-1) for p in made.program.projections])
        assert np.abs(weights).max() <= 2 ** (bits - 1) - 1
    assert memory[0] > memory[1] > memory[2]
