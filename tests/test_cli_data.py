"""Data files: what is read, and what a bad one ends as."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ndeploy import data
from ndeploy.errors import UsageError

from . import small_artifact
from .cli_runner import call
from .small_artifact import X


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


DTYPES = st.sampled_from(["u1", "<i2", ">i4", "<i8", "?", "<f4", ">f8", "<f2"])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(DTYPES, SHAPES, elements=None).filter(lambda a: a.dtype.kind != "f" or np.isfinite(a).all()),
    st.booleans(),
)
def test_arrays_come_back_as_numpy_wrote_them(tmp_path_factory: pytest.TempPathFactory, x: Any, fortran: bool) -> None:
    path = tmp_path_factory.mktemp("data") / "d.npz"
    read = data.load(
        saved(path, x=np.asfortranarray(x) if fortran else x, y=np.arange(len(x)), x_scale=np.float32(0.5))
    )
    assert read.x.dtype == x.dtype
    assert np.array_equal(read.x, x)
    assert np.array_equal(read.y, np.arange(len(x)))
    assert read.x_scale == 0.5


def test_limit_and_slice(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.npz", x=np.arange(20).reshape(10, 2), y=np.arange(10))
    read = data.load(path, limit=4)
    assert len(read) == 4
    assert read.slice(3, 9).x.tolist() == [[6, 7]]
    assert read.slice(1, 3).y.tolist() == [1, 2]


def bomb() -> dict[str, bytes]:
    """A header that promises far more than the file holds."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    return {"x.npy": buffer.getvalue()}


def objects() -> dict[str, bytes]:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return {"x.npy": buffer.getvalue()}


def deep() -> dict[str, bytes]:
    header = b"(" * 60_000
    return {"x.npy": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header}


BAD: dict[str, tuple[str, Any]] = {
    "garbage": ("ND501", b"\x00\x01garbage"),
    "empty file": ("ND501", b""),
    "promises too much": ("ND501", bomb()),
    "pickled objects": ("ND501", objects()),
    "header nests too deeply": ("ND501", deep()),
    "not an array": ("ND501", {"x.npy": b"text"}),
    "no x": ("ND501", {"z": np.zeros(3)}),
    "text": ("ND501", {"x": np.array(["a", "b"])}),
    "NaN": ("ND501", {"x": np.array([[1.0, np.nan]])}),
    "infinity": ("ND501", {"x": np.array([[np.inf]])}),
    "no samples": ("ND503", {"x": np.zeros((0, 4))}),
    "a number": ("ND503", {"x": np.float64(3)}),
    "labels too few": ("ND502", {"x": np.zeros((3, 1)), "y": np.zeros(2, dtype=int)}),
    "labels are floats": ("ND501", {"x": np.zeros((3, 1)), "y": np.zeros(3)}),
    "two scales": ("ND501", {"x": np.zeros((3, 1)), "x_scale": np.ones(2)}),
    "negative scale": ("ND501", {"x": np.zeros((3, 1)), "x_scale": -1.0}),
    "scale is NaN": ("ND501", {"x": np.zeros((3, 1)), "x_scale": np.nan}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_ends_as_a_coded_error(tmp_path: Path, name: str) -> None:
    code, contents = BAD[name]
    path = tmp_path / "d.npz"
    if isinstance(contents, bytes):
        path.write_bytes(contents)
    elif all(isinstance(value, bytes) for value in contents.values()):
        with zipfile.ZipFile(path, "w") as archive:
            for entry, value in contents.items():
                archive.writestr(entry, value)
    else:
        saved(path, **contents)
    with pytest.raises(UsageError) as caught:
        data.load(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        data.load(tmp_path / "absent.npz")
    assert caught.value.code == "ND101"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_escapes_the_error_tree(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(12.0).reshape(3, 4), y=np.arange(3))
    content = bytearray(buffer.getvalue())
    for _ in range(draw.draw(st.integers(0, 4))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "d.npz"
    path.write_bytes(content[: draw.draw(st.integers(0, len(content)))])
    with contextlib.suppress(UsageError):
        data.load(path)


@pytest.mark.parametrize("command", [("run",), ("verify", "--against", "oracle")])
@pytest.mark.parametrize(("x", "clipped"), [(X, ""), (X * 0.9, ""), (X * 255, "50 %"), (X - 1.0, "50 %")])
def test_values_that_the_compiled_input_cannot_carry_are_named(
    command: tuple[str, ...], x: Any, clipped: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = small_artifact.write(tmp_path)
    done = call(capsys, command[0], model, "--data", saved(tmp_path / "d.npz", x=x), *command[1:])
    assert done.code == 0
    assert ("ND504" in done.err) == bool(clipped)
    assert clipped in done.err
