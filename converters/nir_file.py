"""NIR files (HDF5, written by `nir.write` or by `ndeploy compile --emit-nir`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ndeploy.ir.network import Network
from ndeploy.settings import Settings

if TYPE_CHECKING:
    from ndeploy.contents import Contents

NAME = "nir"
FAMILY = "nir"


def detect(path: Path, contents: Contents) -> bool:
    """An HDF5 file whose group /node has a type: the layout of every NIR version."""
    return contents.kind == "hdf5" and "node/type" in {key.lstrip("/") for key in contents.keys()}  # noqa: SIM118


def load(path: Path, contents: Contents, settings: Settings) -> Network:
    """The network. Raises what `ndeploy.graph.read.read_nir` raises."""
    from ndeploy.graph.read import read_nir

    return read_nir(path, settings)
