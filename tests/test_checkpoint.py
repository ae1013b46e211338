"""Safe loading: every format a training script writes, and every way a stranger's file can be bad."""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ndeploy import checkpoint
from ndeploy.contents import Contents
from ndeploy.errors import UsageError

from .fixtures_path import fixture

STATE = {"fc.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "fc.bias": torch.ones(2)}
WRAPPERS = {
    "bare": lambda s: s,
    "timm": lambda s: {"state_dict": s, "args": argparse.Namespace(T=4, heads=2, names=["a"]), "epoch": 3},
    "model": lambda s: {"model": s, "args": {"T": 4}},
    "ctm": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}, "iteration": np.float64(7)},
    "parallel": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
}


def _saved(tmp_path: Path, value: object, *, legacy: bool = False, name: str = "model.pth.tar") -> Path:
    path = tmp_path / name
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_in_both_formats(tmp_path: Path, wrapper: str, legacy: bool) -> None:
    path = _saved(tmp_path, WRAPPERS[wrapper](STATE), legacy=legacy)
    contents = Contents(path)
    assert contents.kind == ("pickle" if legacy else "zip-checkpoint")
    assert {"fc.weight", "fc.bias"} <= set(contents.keys())
    loaded = checkpoint.load(path, contents)
    assert list(loaded.state) == ["fc.weight", "fc.bias"]
    np.testing.assert_array_equal(loaded.state["fc.weight"], STATE["fc.weight"].numpy())
    if wrapper == "timm":
        assert loaded.args == {"T": 4, "heads": 2, "names": ["a"]}
        assert loaded.extra == {"epoch": 3}
    if wrapper == "ctm":
        assert loaded.extra == {"iteration": 7.0}


def test_numpy_random_states_of_training_scripts_are_inert(tmp_path: Path) -> None:
    state = np.random.RandomState(3).get_state()
    loaded = checkpoint.load(_saved(tmp_path, {"model_state_dict": STATE, "numpy_rng_state": state}))
    assert list(loaded.state) == ["fc.weight", "fc.bias"]


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    loaded = checkpoint.load(_saved(tmp_path, {"a.weight": torch.tensor([0.5, -2.0], dtype=torch.bfloat16)}))
    assert loaded.state["a.weight"].dtype == np.float32
    assert loaded.state["a.weight"].tolist() == [0.5, -2.0]


def test_safetensors_and_npz(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "m.safetensors")
    np.savez(tmp_path / "m.npz", **{k: v.numpy() for k, v in STATE.items()})
    for name, kind in (("m.safetensors", "safetensors"), ("m.npz", "npz")):
        contents = Contents(tmp_path / name)
        assert contents.kind == kind
        assert set(contents.keys()) == set(STATE)
        loaded = checkpoint.load(tmp_path / name, contents)
        np.testing.assert_array_equal(loaded.state["fc.weight"], STATE["fc.weight"].numpy())


class _Bomb:
    """Leaves a file behind if anybody builds it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_code_in_a_checkpoint_is_refused_by_name_and_not_run(tmp_path: Path, legacy: bool) -> None:
    mark = tmp_path / "was-run"
    path = _saved(tmp_path, {"state_dict": STATE, "args": _Bomb(mark)}, legacy=legacy)
    Contents(path).keys()
    with pytest.raises(UsageError) as error:
        checkpoint.load(path)
    assert error.value.code == "ND122"
    assert "io.open" in error.value.message or "_io.open" in error.value.message
    assert not mark.exists()


def test_a_plain_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"state_dict": _Bomb(mark)}, protocol=2))
    Contents(path).keys()
    with pytest.raises(UsageError) as error:
        checkpoint.load(path)
    assert error.value.code in ("ND121", "ND122")
    assert not mark.exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_truncation_at_any_place_is_a_coded_error(tmp_path: Path, legacy: bool) -> None:
    whole = _saved(tmp_path, {"state_dict": STATE, "args": argparse.Namespace(T=4)}, legacy=legacy).read_bytes()
    path = tmp_path / "cut.pth"
    for length in sorted({0, 1, 2, 3, 17, *range(20, len(whole), max(1, len(whole) // 60)), len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError):
            checkpoint.load(path)


def test_garbage_behind_every_magic(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8).tobytes()
    path = tmp_path / "noise.pt"
    for head in (b"PK\x03\x04", b"\x80\x02", b"\x89HDF\r\n\x1a\n", struct.pack("<Q", 64) + b"{", b"", b"GARBAGE"):
        path.write_bytes(head + noise)
        with pytest.raises(UsageError):
            checkpoint.load(path)
        with contextlib.suppress(UsageError):
            Contents(path).keys()


def test_flipped_bytes_never_escape_the_error_tree(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = np.frombuffer(_saved(tmp_path, {"state_dict": STATE}, legacy=True).read_bytes(), dtype=np.uint8)
    path = tmp_path / "flipped.pt"
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(0, whole.size, 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(UsageError):
            Contents(path).keys()
            checkpoint.load(path)


def test_nan_weight_is_named(tmp_path: Path) -> None:
    bad = {**STATE, "fc.bias": torch.tensor([1.0, float("nan")])}
    with pytest.raises(UsageError, match=r"fc\.bias") as error:
        checkpoint.load(_saved(tmp_path, bad))
    assert error.value.code == "ND304"


def test_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epoch") as error:
        checkpoint.load(_saved(tmp_path, {"epoch": 3}))
    assert error.value.code == "ND124"


def test_a_view_that_claims_a_terabyte(tmp_path: Path) -> None:
    huge = torch.ones(1).expand(2**38)
    with pytest.raises(UsageError, match="claims") as error:
        checkpoint.load(_saved(tmp_path, {"w.weight": huge}))
    assert error.value.code == "ND123"


def test_zip_bomb(tmp_path: Path) -> None:
    whole = _saved(tmp_path, STATE).read_bytes()
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.writestr("archive/data/99", bytes(64 * 2**20))
    with pytest.raises(UsageError) as error:
        checkpoint.load(path)
    assert error.value.code == "ND123"


@pytest.mark.parametrize("name", ["parity", "digits", "sort"])
def test_continuous_thought_machine_checkpoints(name: str) -> None:
    loaded = checkpoint.load(fixture(f"ctm/{name}/checkpoint.pt"))
    assert "start_trace" in loaded.state
    assert loaded.args["model_type"] == "ctm" or loaded.args["model"]
