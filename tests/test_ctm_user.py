"""What a user of a CTM does wrong, and what must then be said: one coded error or warning, no traceback, no silence."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_ctm
from cli_runner import call

from ndeploy.calibration import remarks
from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.ir.network import Input, Network
from ndeploy.passes.rounding import BLOCK, mean_square, metric, refined, round_together

Capsys = pytest.CaptureFixture[str]
PARITY: dict[str, Any] = {
    "backbone": "parity_backbone",
    "position": "custom-rotational-1d",
    "reshaper": (5, 2),
    "outputs": 10,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parity machine without args, one with them, and data."""
    path = tmp_path_factory.mktemp("user")
    made = tiny_ctm.write(path / "parity.pt", **PARITY)
    tiny_ctm.write(path / "bare.pt", args={}, **PARITY)
    x = tiny_ctm.samples(made, 24).astype(np.float32)
    np.savez(path / "x.npz", x=x, y=(np.cumsum(x < 0, axis=1) % 2))
    np.savez(path / "zeros-and-ones.npz", x=(x + 1) / 2)
    np.savez(path / "classes.npz", x=x, y=np.full((24, 5), 7))
    np.savez(path / "sequence.npz", x=np.repeat(x[:, None], 9, axis=1))
    return path


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Path:
    from ndeploy.cli import app

    target = folder / "parity.ndp"
    arguments = ["compile", str(folder / "parity.pt"), "-t", "loihi2", "--steps", "3"]
    arguments += ["--calibration", str(folder / "x.npz"), "-o", str(target)]
    app.app(arguments, standalone_mode=False)
    return target


def test_everything_that_is_not_stated_is_named_at_once(capsys: Capsys, folder: Path) -> None:
    done = call(capsys, "compile", folder / "bare.pt", "-t", "loihi2")
    assert done.code == 2
    assert "ND204" in done.err
    assert "--set iterations=... --set heads=..." in done.err


def test_steps_are_ticks(capsys: Capsys, folder: Path, artifact: Path) -> None:
    done = call(capsys, "run", artifact, "--data", folder / "x.npz")
    assert done.code == 0
    assert "3 model steps" in done.out
    beyond = call(
        capsys, "compile", folder / "parity.pt", "-t", "loihi2", "--steps", 70000, "-o", folder / "beyond.ndp"
    )
    assert beyond.code == 1
    assert "ND302" in beyond.err
    assert "--steps" in beyond.err


def test_parity_in_zeros_and_ones_is_refused(capsys: Capsys, folder: Path, artifact: Path) -> None:
    data = folder / "zeros-and-ones.npz"
    for words in (
        ("compile", folder / "parity.pt", "-t", "loihi2", "--calibration", data, "-o", folder / "refused.ndp"),
        ("run", artifact, "--data", data),
    ):
        done = call(capsys, *words)
        assert done.code == 2
        assert "ND502" in done.err
        assert "2 * x - 1" in done.err


def test_a_sequence_for_an_input_that_stands_still_is_refused(capsys: Capsys, folder: Path, artifact: Path) -> None:
    done = call(capsys, "run", artifact, "--data", folder / "sequence.npz")
    assert done.code == 2
    assert "is static" in done.err


def test_labels_that_cannot_be_right_are_told(capsys: Capsys, folder: Path, artifact: Path) -> None:
    done = call(capsys, "run", artifact, "--data", folder / "classes.npz")
    assert done.code == 0
    assert "y holds classes 7 to 7, the network answers with 0 to 1" in " ".join(done.err.split())


def test_torch_advice_to_load_without_a_check_is_not_passed_on(capsys: Capsys, folder: Path) -> None:
    state = tiny_ctm.state(dataclasses.replace(tiny_ctm.Choices(), **PARITY))
    (folder / "raw.pkl").write_bytes(pickle.dumps({"model_state_dict": state}, protocol=4))
    done = call(capsys, "compile", folder / "raw.pkl", "-t", "loihi2")
    assert done.code == 2
    assert "ND121" in done.err
    assert "weights_only" not in done.err


def _network(typical: str) -> Network:
    return Network("n", {"x": Input((3,), typical=typical)}, ())


def test_calibration_that_shows_no_range() -> None:
    rng = np.random.default_rng(0)
    some = Data(rng.normal(size=(8, 3)))
    assert remarks(_network("normal"), some, some) == ()
    (made_up,) = remarks(_network("normal"), None, some)
    assert "made up" in made_up.message
    same = Data(np.repeat(some.x[:1], 4, axis=0))
    (alike,) = remarks(_network("normal"), same, same)
    assert "all 4 calibration samples are the same" in alike.message
    zero = Data(np.zeros((4, 3)))
    with pytest.raises(UsageError, match="ND305"):
        remarks(_network("normal"), zero, zero)
    scaled = Data(np.array([[2, -2, 2], [2, 2, 2]]), None, 0.5)
    assert remarks(_network("signs"), scaled, scaled) == ()


def test_rounding_by_blocks_is_rounding_by_columns() -> None:
    """More columns than a block: every block's steps reach the others, so that no single step is left that helps."""
    rng = np.random.default_rng(1)
    columns = 2 * BLOCK + 5
    weight = rng.normal(0, 20, (1, 6, columns))
    x = rng.normal(size=(columns + 20, columns)) * rng.uniform(0.2, 2, columns)
    x[:, 1:] += x[:, :-1]
    cost = metric((x.T @ x / len(x))[None])
    limit = np.full(columns, 40.0)
    start = np.clip(np.rint(weight), -limit, limit)
    found = refined(weight, start, cost.c, limit)
    error = mean_square(weight - found, cost.c)
    assert (error < mean_square(weight - start, cost.c)).all()
    assert (mean_square(weight - round_together(weight, cost, limit), cost.c) <= error + 1e-9).all()
    assert np.abs(found).max() <= 40
    again = refined(weight, found, cost.c, limit)
    assert (mean_square(weight - again, cost.c) <= error + 1e-9).all()
    for column in (0, BLOCK, columns - 1):
        for step in (-1, 1):
            moved = found.copy()
            moved[..., column] = np.clip(moved[..., column] + step, -40, 40)
            assert (mean_square(weight - moved, cost.c) >= mean_square(weight - again, cost.c) - 1e-9).all()
