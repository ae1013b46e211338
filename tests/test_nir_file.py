"""The converter for NIR files: told by content, not by name."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
from fixtures_path import fixture
from ndeploy.converters import nir_file

from ndeploy.contents import Contents
from ndeploy.settings import Settings


def test_a_nir_file_is_told_by_its_content(tmp_path):
    path = tmp_path / "weights.bin"
    shutil.copy(fixture("nir/mnist-conv/model.nir"), path)
    assert nir_file.detect(path, Contents(path))
    settings = Settings.parse(["source=snntorch", "steps=6"])
    network = nir_file.load(path, Contents(path), settings)
    assert network.family == "nir"
    assert network.steps == 6
    assert settings.unused() == ()
    assert network.settings["source"] == {"value": "snntorch", "from": "--set"}


def test_other_files_are_not(tmp_path):
    netx = fixture("netx/oxford/network.net")
    assert not nir_file.detect(netx, Contents(netx))
    other = tmp_path / "other.nir"
    with h5py.File(other, "w") as file:
        file["node/nodes/a"] = np.ones(3)
    assert not nir_file.detect(other, Contents(other))
    text = tmp_path / "text.nir"
    text.write_text("hello")
    assert not nir_file.detect(text, Contents(text))
