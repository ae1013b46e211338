"""What a search or a training could not use is refused before anything is measured, not after minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_model
from cli_runner import Done, call

from ndeploy import pipeline

Capsys = pytest.CaptureFixture[str]
Files = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return small_model.write(tmp_path_factory.mktemp("small"))


def compiling(capsys: Capsys, files: Files, output: Path, *more: object) -> Done:
    arguments = ("--target", "loihi2", "--calibration", files[1], "-o", output)
    return call(capsys, "compile", files[0], *arguments, *more)


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that gets as far as quantising fails."""

    def unexpected(*_: object) -> None:
        raise RuntimeError("something was measured")

    stages = [(name, unexpected if name == "quantising" else stage) for name, stage in pipeline.STAGES]
    monkeypatch.setattr("ndeploy.pipeline.STAGES", tuple(stages))


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [("--workers", "0", "ND610"), ("--workers", "two", "ND610"), ("--journal", ".", "ND702")],
)
def test_what_a_search_cannot_use_is_refused_before_it_starts(
    capsys: Capsys, files: Files, tmp_path: Path, option: str, value: str, code: str
) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", "--bit-budget", "3", option, value)
    assert (done.code, done.error) == (2, code)


def test_a_target_without_prices_is_refused_before_anything_runs(capsys: Capsys, files: Files) -> None:
    done = call(capsys, "compile", files[0], "-t", "lava", "--calibration", files[1], "--energy-budget", "20uJ")
    assert (done.code, done.error) == (1, "ND431")


def test_training_data_of_another_shape_are_refused_before_the_search(
    capsys: Capsys, files: Files, tmp_path: Path
) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros((4, 6, 9)), y=np.zeros(4, dtype=np.int64))
    done = compiling(capsys, files, tmp_path / "m.ndp", "--bit-budget", "3", "--finetune", tmp_path / "other.npz")
    assert (done.code, done.error) == (2, "ND502")
    assert "data to train on" in done.err


def test_steps_that_are_not_known_are_asked_for_as_they_were_left_open(
    capsys: Capsys, files: Files, tmp_path: Path
) -> None:
    with np.load(files[1]) as data:
        np.savez(tmp_path / "static.npz", x=data["x"][:, 0], y=data["y"])
    arguments = ("-t", "loihi2", "--calibration", tmp_path / "static.npz", "--ops-budget", "1k", "--steps", "auto")
    done = call(capsys, "compile", files[0], *arguments, "-o", tmp_path / "m.ndp")
    assert (done.code, done.error) == (2, "ND204")
    assert "give --steps auto:T" in done.err


def test_what_can_be_used_gets_as_far_as_measuring(capsys: Capsys, files: Files, tmp_path: Path) -> None:
    done = compiling(capsys, files, tmp_path / "m.ndp", "--bit-budget", "3", "--finetune", files[2], "--workers", "2")
    assert "something was measured" in done.err
