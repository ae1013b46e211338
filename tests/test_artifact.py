"""Artifacts: exact round trips, equal bytes, and nothing but a coded error for a hostile file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import cases

from ndeploy import artifact, atomic, wellformed
from ndeploy.artifact import ARRAYS, MANIFEST, NETWORK, Artifact
from ndeploy.errors import UsageError
from ndeploy.ir import serial
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Dense


def small() -> Program:
    return Program(
        name="small",
        populations=(
            Population("in", (2,), Input()),
            Population("out", (3,), CubaLif(du=4095, dv=np.array([0, 1, 2]), vth=64), offset=1, scale=0.5),
        ),
        projections=(Projection("w", "in", "out", Dense(np.array([[1, -2], [3, 4], [5, 6]], dtype=np.int16))),),
        inputs=(InputPort("in"),),
        outputs=(OutputPort("out"),),
        steps=3,
        meta={"settings": {"dt": {"value": 1e-4, "from": "default"}}},
    )


def made() -> Artifact:
    return Artifact(small(), {"cores": 1}, b"\x89HDF bytes", {"target": "loihi2"})


def same(a: Program, b: Program) -> bool:
    (tree_a, arrays_a), (tree_b, arrays_b) = serial.to_parts(a), serial.to_parts(b)
    return (
        tree_a == tree_b
        and list(arrays_a) == list(arrays_b)
        and all(
            x.dtype == y.dtype and np.array_equal(x, y)
            for x, y in zip(arrays_a.values(), arrays_b.values(), strict=True)
        )
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases())
def test_random_programs_survive_exactly(tmp_path_factory: pytest.TempPathFactory, case: tuple[Program, Any]) -> None:
    program, _ = case
    path = tmp_path_factory.mktemp("artifact") / "a.ndp"
    digest = artifact.save(Artifact(program, {"cores": 2}, None, {"a": [1, None, "x"]}), path)
    back = artifact.load(path)
    assert same(program, back.program)
    assert (back.placement, back.network, back.meta) == ({"cores": 2}, None, {"a": [1, None, "x"]})
    assert artifact.sha256(artifact.to_bytes(back)) == digest == artifact.sha256(path.read_bytes())


def test_network_bytes_survive(tmp_path: Path) -> None:
    artifact.save(made(), tmp_path / "a.ndp")
    assert artifact.load(tmp_path / "a.ndp").network == b"\x89HDF bytes"


def test_equal_artifacts_have_equal_bytes_without_dates() -> None:
    data = artifact.to_bytes(made())
    assert data == artifact.to_bytes(made())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == [MANIFEST, ARRAYS, NETWORK]


def test_is_artifact_tells_by_content(tmp_path: Path) -> None:
    artifact.save(made(), tmp_path / "model.nir")
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    (tmp_path / "empty.ndp").touch()
    assert artifact.is_artifact(tmp_path / "model.nir")
    assert not artifact.is_artifact(tmp_path / "data.npz")
    assert not artifact.is_artifact(tmp_path / "empty.ndp")
    assert not artifact.is_artifact(tmp_path / "absent.ndp")


# -- hostile files -----------------------------------------------------------------------------------------------------


def rewrite(data: bytes, change: Callable[[dict[str, bytes]], None], **write: Any) -> bytes:
    """The archive with its entries changed by hand."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **write) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def manifest(edit: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        tree = json.loads(entries[MANIFEST])
        edit(tree)
        entries[MANIFEST] = json.dumps(tree).encode()

    return change


def deep(entries: dict[str, bytes]) -> None:
    entries[MANIFEST] = b'{"kind":' + b"[" * 100_000


def flip(entries: dict[str, bytes]) -> None:
    content = bytearray(entries[ARRAYS])
    content[-1] ^= 1
    entries[ARRAYS] = bytes(content)


HOSTILE: dict[str, tuple[str, Callable[[dict[str, bytes]], None]]] = {
    "path outside": ("ND701", lambda e: e.update({"../evil": b""})),
    "absolute path": ("ND701", lambda e: e.update({"/etc/evil": b""})),
    "no manifest": ("ND701", lambda e: e.pop(MANIFEST) and None),
    "no arrays": ("ND701", lambda e: e.pop(ARRAYS) and None),
    "manifest is not JSON": ("ND701", lambda e: e.update({MANIFEST: b"\xff{"})),
    "manifest nests too deeply": ("ND701", deep),
    "manifest is a list": ("ND701", lambda e: e.update({MANIFEST: b"[]"})),
    "another kind": ("ND701", manifest(lambda t: t.update(kind="other"))),
    "newer container": ("ND704", manifest(lambda t: t.update(format=2))),
    "newer program": ("ND704", manifest(lambda t: t.update(program_format=serial.FORMAT + 1))),
    "version is a text": ("ND701", manifest(lambda t: t.update(format="1"))),
    "flipped bit": ("ND705", flip),
    "no hashes": ("ND705", manifest(lambda t: t.update(sha256={}))),
    "unknown class": ("ND701", manifest(lambda t: t["program"].update({"$": "os.system"}))),
    "unknown field": ("ND701", manifest(lambda t: t["program"].update(extra=1))),
    "missing array": (
        "ND701",
        manifest(lambda t: t["program"]["projections"][0]["synapses"]["weight"].update({"$array": "a9"})),
    ),
    "no program": ("ND701", manifest(lambda t: t.update(program={"$": "InputPort", "population": "in"}))),
    "text for a number": ("ND701", manifest(lambda t: t["program"].update(steps="3"))),
    "truth for a number": ("ND701", manifest(lambda t: t["program"].update(steps=True))),
    "no steps": ("ND701", manifest(lambda t: t["program"].update(steps=0))),
    "huge population": ("ND701", manifest(lambda t: t["program"]["populations"][0].update(shape=[2**20, 2**20]))),
    "dangling projection": ("ND701", manifest(lambda t: t["program"]["projections"][0].update(source="nowhere"))),
    "dangling output": ("ND701", manifest(lambda t: t["program"]["outputs"][0].update(population="nowhere"))),
    "no outputs": ("ND701", manifest(lambda t: t["program"].update(outputs=[]))),
    "unknown variable": ("ND701", manifest(lambda t: t["program"]["outputs"][0].update(variable="w"))),
    "output as input": ("ND701", manifest(lambda t: t["program"]["inputs"][0].update(population="out"))),
    "shape against weights": ("ND701", manifest(lambda t: t["program"]["populations"][0].update(shape=[5]))),
    "parameter against shape": ("ND701", manifest(lambda t: t["program"]["populations"][1].update(shape=[1]))),
    "negative lag": ("ND701", manifest(lambda t: t["program"]["populations"][1].update(offset=5))),
    "two of a name": ("ND701", manifest(lambda t: t["program"]["populations"][0].update(name="out"))),
    "shift of 2^40": ("ND701", manifest(lambda t: t["program"]["populations"][1]["neuron"].update(shift=2**40))),
    "a name that moves the cursor": ("ND701", manifest(lambda t: t["program"].update(name="\x1b[2J"))),
    "settings are a list": ("ND701", manifest(lambda t: t["meta"].update(settings=[1]))),
    "a setting without origin": ("ND701", manifest(lambda t: t["meta"].update(settings={"dt": {"value": 1}}))),
    "source is a number": ("ND701", manifest(lambda t: t["meta"].update(source={"sha256": 1}))),
    "target is a list": ("ND701", manifest(lambda t: t["meta"].update(target=["loihi2"]))),
    "meta is a list": ("ND701", manifest(lambda t: t.update(meta=[]))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_contents_end_as_coded_errors(tmp_path: Path, name: str) -> None:
    code, change = HOSTILE[name]
    path = tmp_path / "a.ndp"
    path.write_bytes(rewrite(artifact.to_bytes(made()), change))
    with pytest.raises(UsageError) as caught:
        artifact.load(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert caught.value.help


def test_the_unchanged_archive_loads(tmp_path: Path) -> None:
    """The hostile ones fail for what they change, not for being rewritten."""
    path = tmp_path / "a.ndp"
    path.write_bytes(rewrite(artifact.to_bytes(made()), lambda entries: None))
    assert same(artifact.load(path).program, small())


def test_a_compressed_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.ndp"
    path.write_bytes(
        rewrite(
            artifact.to_bytes(made()), lambda e: e.update({NETWORK: bytes(1 << 26)}), compression=zipfile.ZIP_DEFLATED
        )
    )
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UsageError, match="compressed"):
        artifact.load(path)


def test_duplicate_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ndp"
    path.write_bytes(artifact.to_bytes(made()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(MANIFEST, b"{}")
    with pytest.raises(UsageError, match="twice"):
        artifact.load(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_escapes_the_error_tree(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(artifact.to_bytes(made()))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.mktemp("damage") / "a.ndp"
    path.write_bytes(content)
    with contextlib.suppress(UsageError):
        artifact.load(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.ndp", tmp_path):
        with pytest.raises(UsageError) as caught:
            artifact.load(path)
        assert caught.value.code == "ND101"


# -- whole writes ------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.ndp"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic.writing(path) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.ndp"]


def test_a_full_disk_is_a_coded_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left") as caught:
        artifact.save(made(), tmp_path / "a.ndp")
    assert caught.value.code == "ND702"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["absent/a.ndp", "file/a.ndp", "folder"])
def test_unwritable_places(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for attempt in (atomic.check_writable, lambda p: artifact.save(made(), p)):
        with pytest.raises(UsageError) as caught:
            attempt(tmp_path / path)
        assert caught.value.code == "ND702"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        atomic.write(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_wellformed_accepts_what_the_compiler_may_make() -> None:
    wellformed.check(small())


def test_nothing_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    from dataclasses import replace

    program = replace(small(), inputs=(InputPort("in", scale=0.0),))
    with pytest.raises(ValueError, match="scale"):
        artifact.save(Artifact(program), tmp_path / "a.ndp")
    assert os.listdir(tmp_path) == []
