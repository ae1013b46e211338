"""The example Continuous Thought Machine: it learns, its checkpoints are read, and what is committed still answers."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import ctm_equations
import numpy as np
import pytest
import torch
from cli_runner import call

from ndeploy import checkpoint

HERE = Path(__file__).parent.parent / "examples" / "ctm"


def _module(name: str) -> ModuleType:
    """A file of the example, which is a script and no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example() -> tuple[ModuleType, ModuleType]:
    """model.py and train.py."""
    names = ("model", "train")
    before = {name: sys.modules.get(name) for name in names}
    loaded = _module("model"), _module("train")
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module
    return loaded


def _samples(task: str, part: str) -> np.ndarray:
    with np.load(HERE / f"{task}-{part}.npz") as data:
        return data["x"] * data["x_scale"] if "x_scale" in data else data["x"].astype(np.float64)


def test_a_few_iterations_lower_the_loss(example: tuple[ModuleType, ModuleType]) -> None:
    _, train = example
    recipe = train.RECIPES["parity"]
    small = replace(recipe.config, d_model=16, d_input=8, heads=2, iterations=4, n_synch_out=8, n_synch_action=8)
    _, done, losses = train.train(replace(recipe, config=small, warmup=1), seconds=0, iterations=40)
    assert done == len(losses) == 40
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.parametrize("kind", ["random", "random-pairing", "first-last"])
@pytest.mark.parametrize("heads", [0, 2])
def test_follows_the_equations(example: tuple[ModuleType, ModuleType], kind: str, heads: int) -> None:
    model, _ = example
    config = model.Config(
        task="parity" if heads else "sort",
        out_dims=10,
        prediction_reshaper=(5, 2),
        iterations=5,
        d_model=12,
        d_input=8 if heads else 5,
        heads=heads,
        n_synch_out=6,
        n_synch_action=4,
        neuron_select_type=kind,
        n_random_pairing_self=2 if kind == "random-pairing" else 0,
        backbone_type="parity_backbone" if heads else "none",
        positional_embedding_type="custom-rotational-1d" if heads else "none",
        seed=3,
    )
    machine = model.ContinuousThoughtMachine(config)
    with torch.no_grad():
        for name, value in machine.named_parameters():
            if name.startswith("decay"):
                value.uniform_(-0.5, 1.5)  # some are clamped
        x = np.random.default_rng(0).choice([-1.0, 1.0], (3, 5)).astype(np.float32)
        ticks = list(machine.ticks(torch.from_numpy(x)))
        _, certainties = machine(torch.from_numpy(x))
    state = {name: value.numpy() for name, value in machine.state_dict().items()}
    expected = ctm_equations.run(state, x, iterations=5, heads=heads, reshaper=(5, 2))
    for signal in ("pre", "post", "synch_out", "logits") + (("synch_action", "attention") if heads else ()):
        got = np.stack([getattr(tick, signal).numpy() for tick in ticks])
        np.testing.assert_allclose(got, getattr(expected, signal), rtol=1e-3, atol=1e-4, err_msg=signal)
    np.testing.assert_allclose(certainties.numpy(), expected.certainty.T, atol=1e-5)


def test_what_is_saved_is_read_without_running_it(example: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    model, train = example
    machine = model.ContinuousThoughtMachine(train.RECIPES["digits"].config)
    model.save(tmp_path / "digits.pt", machine, 7, train_losses=[1.0])
    loaded = checkpoint.load(tmp_path / "digits.pt")
    assert set(loaded.state) == set(machine.state_dict())
    assert loaded.args["iterations"] == machine.config.iterations
    assert loaded.args["prediction_reshaper"] == [-1]
    assert loaded.extra["iteration"] == 7
    again = model.load(tmp_path / "digits.pt")
    assert again.config == machine.config
    x = torch.rand(2, 25, 3, 3)
    assert torch.equal(again(x)[0], machine(x)[0])


def test_digits_and_tokens_are_the_same_data(example: tuple[ModuleType, ModuleType]) -> None:
    _, train = example
    x = torch.from_numpy(_samples("digits", "eval")).float()
    images = train.images_of(x)
    assert torch.equal(train.tokens(images), x)
    assert train.moved(x).shape == x.shape


def test_parity_is_held_out(example: tuple[ModuleType, ModuleType]) -> None:
    _, train = example
    data = train.parity()
    for part, x in (("calibration", data.x), ("eval", data.x_eval)):
        assert np.array_equal(_samples("parity", part), x.numpy()), "data files are those that train.py uses"
    assert not {tuple(x) for x in data.x.tolist()} & {tuple(x) for x in data.x_eval.tolist()}


@pytest.mark.parametrize(("task", "least"), [("parity", 0.96), ("digits", 0.96)])
def test_committed_checkpoint_compiles_and_answers(
    example: tuple[ModuleType, ModuleType], task: str, least: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = example
    artifact = tmp_path / "m.ndp"
    calibration = HERE / f"{task}-calibration.npz"
    done = call(
        capsys, "compile", HERE / f"{task}.pt", "--target", "loihi2", "--calibration", calibration, "-o", artifact
    )
    assert done.code == 0, done.err
    done = call(capsys, "run", artifact, "--data", HERE / f"{task}-eval.npz", "--json")
    assert done.code == 0, done.err
    run = json.loads(done.out)
    accuracy = run["sequence_accuracy" if task == "parity" else "accuracy"]
    machine = model.load(HERE / f"{task}.pt")
    x = torch.from_numpy(_samples(task, "eval")).float()
    with np.load(HERE / f"{task}-eval.npz") as data:
        y = torch.from_numpy(data["y"]).reshape(len(x), -1)
    with torch.no_grad():
        logits, certainties = machine(x)
    told = model.answer(logits, certainties, machine.config.prediction_reshaper)
    in_float = float((told == y).all(dim=1).float().mean())
    assert accuracy >= least
    assert accuracy >= in_float - 0.04  # one sequence of 32 is 0.031
