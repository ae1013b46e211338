"""The search, steps, energy and fine-tuning as stages of the compiler, on files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model

from ndeploy import oracle, sim
from ndeploy.artifact import Artifact, to_bytes
from ndeploy.budget import Budget, Search
from ndeploy.data import load
from ndeploy.decode import encode
from ndeploy.errors import NdeployError, RefusedError
from ndeploy.graph import reference as float_network
from ndeploy.pipeline import Compiled, CompileOptions, compile_model
from ndeploy.search.cost import bit_costs
from ndeploy.search.score import reference, score
from ndeploy.summary import summarise

Files = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return small_model.write(tmp_path_factory.mktemp("small"), samples=32)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Path:
    """Samples without a time axis: the number of steps is free. Labelled by the float network at 6 steps."""
    path = tmp_path_factory.mktemp("still") / "data.npz"
    x = np.random.default_rng(4).integers(0, 2, (40, small_model.INPUTS)).astype(np.uint8)
    y = float_network.run(small_model.network(), x, 6).predictions()
    np.savez(path, x=x, y=y)
    return path


def options(calibration: Path | None, **more: object) -> CompileOptions:
    given = {"method": "bit-budget", "settings": {"input_scale": "1", "input_bits": "1"}, **more}
    return replace(CompileOptions(calibration=calibration), **given)  # type: ignore[arg-type]


def exact(compiled: Compiled, x: np.ndarray) -> None:
    """Simulator and oracle agree on every message and state."""
    messages = encode(compiled.program, x)
    ours, theirs = sim.run(compiled.program, messages, trace=True), oracle.run(compiled.program, messages)
    assert ours.traces.keys() == theirs.traces.keys() != set()
    for name, value in theirs.traces.items():
        assert np.array_equal(ours.traces[name], value), name


def integer(compiled: Compiled) -> None:
    for p in compiled.program.projections:
        assert p.synapses.weight.dtype.kind == "i"
        if not p.unit:
            assert p.synapses.weight.min() >= -(1 << (p.weight_bits - 1))
            assert p.synapses.weight.max() < 1 << (p.weight_bits - 1)


# -- bad data ----------------------------------------------------------------------------------------------------------


def test_calibration_that_cannot_be_used(files: Files, tmp_path: Path) -> None:
    good = load(files[1])
    bad = good.x.astype(float)
    bad[3, 2, 1] = np.nan
    cases = {
        "shape": ({"x": good.x[:, :, 1:], "y": good.y}, "ND502"),
        "nan": ({"x": bad, "y": good.y}, "ND501"),
        "labels": ({"x": good.x, "y": np.zeros((32, 4), dtype=np.int64)}, "ND502"),
        "fewer": ({"x": good.x, "y": good.y[:-1]}, "ND502"),
        "none": ({"x": good.x[:0], "y": good.y[:0]}, "ND503"),
    }
    for name, (arrays, code) in cases.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)
        with pytest.raises(NdeployError) as refused:
            compile_model(files[0], options(path, budget=Budget(mean_bits=3)))
        assert refused.value.code == code, name
        assert refused.value.help
    with pytest.raises(NdeployError) as refused:
        compile_model(files[0], options(None, steps=6, budget=Budget(mean_bits=3)))
    assert refused.value.code == "ND305"


def test_a_search_compiles_to_the_same_bytes_twice(files: Files) -> None:
    def made() -> bytes:
        found = compile_model(files[0], options(files[1], budget=Budget(mean_bits=3)))
        return to_bytes(Artifact(found.program, found.placed.summary(), None, {"target": "loihi2"}))

    assert made() == made()


# -- steps -------------------------------------------------------------------------------------------------------------


def test_steps_are_chosen_within_a_budget_of_operations(files: Files, still: Path) -> None:
    full = compile_model(files[0], options(still, steps=6, budget=Budget(mean_bits=4)))
    most = bit_costs(full.program, None)["s_ace"]
    for share in (0.3, 0.7, 1.0):
        asked = options(still, steps=6, auto_steps=True, bits=4, budget=Budget(operations=share * most))
        found = compile_model(files[0], asked)
        assert bit_costs(found.program, None)["s_ace"] <= share * most
        assert 1 <= found.program.steps <= 6
        choice = found.program.meta["step_choice"]
        assert choice["steps"] == found.program.steps
        assert found.explanation is not None
        assert any("model steps" in note for note in found.explanation.notes)
        exact(found, load(still).x[:4])
    with pytest.raises(RefusedError) as refused:
        compile_model(files[0], options(still, steps=6, auto_steps=True, budget=Budget(operations=10.0)))
    assert refused.value.code == "ND306"


# -- energy ------------------------------------------------------------------------------------------------------------


def test_an_energy_that_nothing_keeps_to_names_what_it_takes(files: Files, still: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        compile_model(files[0], options(still, steps=6, method="uniform", budget=Budget(energy_joules=1e-12)))
    assert refused.value.code == "ND306"
    assert "energy budget" in str(refused.value)
    assert compile_model(files[0], options(still, steps=6, method="uniform", budget=Budget(energy_joules=1.0)))
    with pytest.raises(NdeployError) as lacking:
        compile_model(files[0], options(None, steps=6, method="uniform", budget=Budget(energy_joules=1.0)))
    assert lacking.value.code == "ND305"


# -- fine-tuning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["uniform", "bit-budget"])
def test_a_program_trained_on_is_integer_and_exact(files: Files, method: str) -> None:
    asked = options(files[1], method=method, bits=2, budget=Budget(mean_bits=2 if method == "bit-budget" else None))
    before = compile_model(files[0], asked)
    after = compile_model(files[0], replace(asked, finetune=files[1], epochs=3, search=Search(seed=1)))
    integer(after)
    exact(after, load(files[2]).x[:6])
    assert summarise(after.program) == summarise(before.program)
    data = load(files[1])
    wanted = reference(small_model.network(), data)
    found, start = score(after.program, data, wanted), score(before.program, data, wanted)
    assert found.accuracy is not None
    assert start.accuracy is not None
    assert found.accuracy >= start.accuracy
    if method == "bit-budget":
        assert after.explanation is not None
        assert (after.explanation.loss, after.explanation.accuracy) == (found.loss, found.accuracy)
        assert any("fine-tuned for 3 epochs" in note for note in after.explanation.notes)


def test_training_without_labels_imitates_and_without_epochs_is_refused(files: Files, tmp_path: Path) -> None:
    bare = tmp_path / "bare.npz"
    np.savez(bare, x=load(files[1]).x)
    asked = options(files[1], method="uniform", bits=2, finetune=bare)
    integer(compile_model(files[0], replace(asked, epochs=1)))
    with pytest.raises(NdeployError) as refused:
        compile_model(files[0], asked)
    assert refused.value.code == "ND205"


def test_training_data_of_another_shape(files: Files, tmp_path: Path) -> None:
    odd = tmp_path / "odd.npz"
    good = load(files[1])
    for x, y in ((good.x[:, :, 1:], good.y), (good.x, np.zeros((32, 2), dtype=np.int64))):
        np.savez(odd, x=x, y=y)
        with pytest.raises(NdeployError) as refused:
            compile_model(files[0], options(files[1], method="uniform", finetune=odd, epochs=1))
        assert refused.value.code == "ND502"
