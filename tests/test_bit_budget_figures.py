"""The figures the quantiser promises for the networks it was given: accuracy on eval.npz at a budget of mean weight
bits, calibrated on calibration.npz only."""

from __future__ import annotations

import pytest
from fixtures_path import fixture

from ndeploy.budget import Budget
from ndeploy.data import load
from ndeploy.decode import for_data
from ndeploy.evaluate import evaluate
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.runners import RunnerOptions, find
from ndeploy.summary import summarise

NETWORKS = {
    # file, settings, steps, evaluation
    "ctm/parity": ("checkpoint.pt", {}, None, "all.npz"),
    "ctm/digits": ("checkpoint.pt", {}, None, "eval.npz"),
    "spikformer": ("checkpoint.pth.tar", {}, None, "eval.npz"),
    "nir/mnist-conv": ("model.nir", {"source": "snntorch"}, 6, "eval.npz"),
    "nir/braille": ("model.nir", {"source": "snntorch"}, None, "eval.npz"),
}
LONG = pytest.mark.long


def reached(name: str, bits: float, method: str = "bit-budget", epochs: int = 0) -> float:
    file, settings, steps, data = NETWORKS[name]
    folder = fixture(name)
    given = Budget(mean_bits=bits) if method == "bit-budget" else Budget()
    options = CompileOptions(
        settings=settings,
        steps=steps,
        calibration=folder / "calibration.npz",
        method=method,
        bits=8 if given.mean_bits else int(bits),
        budget=given,
        finetune=folder / "calibration.npz" if epochs else None,
        epochs=epochs,
    )
    compiled = compile_model(folder / file, options)
    assert summarise(compiled.program).weight_bits_mean <= bits + 1e-9
    samples = load(folder / data)
    found = evaluate(for_data(compiled.program, samples.x), samples, find("sim"), RunnerOptions())
    accuracy = found.accuracy if found.sequence_accuracy is None else found.sequence_accuracy
    assert accuracy is not None
    return accuracy


@pytest.mark.parametrize(
    ("name", "bits", "least"),
    [
        pytest.param("ctm/parity", 5, 0.970, marks=LONG),
        ("ctm/parity", 4, 0.900),
        pytest.param("ctm/digits", 4, 0.980, marks=LONG),
        # 96.8 is promised and was measured; a handful of samples either way is what another processor's rounding does
        pytest.param("spikformer", 3, 0.960, marks=LONG),
        pytest.param("spikformer", 2.5, 0.940, marks=LONG),
        ("nir/mnist-conv", 8, 0.919),
        ("nir/mnist-conv", 4, 0.907),
        ("nir/braille", 8, 0.960),
        # 94.8 is promised and was measured at 95.0; as above
        ("nir/braille", 4, 0.935),
    ],
)
def test_accuracy_at_a_budget(name, bits, least):
    assert reached(name, bits) >= least


@pytest.mark.long
def test_two_bits_and_fine_tuning():
    assert reached("spikformer", 2, epochs=5) >= 0.92


@pytest.mark.parametrize(
    ("name", "bits", "least"), [("ctm/parity", 4, 0.90), ("ctm/digits", 4, 0.97), ("nir/mnist-conv", 4, 0.907)]
)
def test_uniform_bits(name, bits, least):
    assert reached(name, bits, "uniform") >= least
