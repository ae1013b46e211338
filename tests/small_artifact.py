"""A compiled model small enough for any runner, and data for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ndeploy import artifact
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Dense

PROGRAM = Program(
    name="small",
    populations=(
        Population("in", (4,), Input()),
        Population("hidden", (3,), CubaLif(du=4095, dv=300, vth=3 << 6), offset=1, origin="lif1"),
        Population("out", (2,), CubaLif(du=4095, dv=0, vth=2 << 6), offset=2, origin="lif2"),
    ),
    projections=(
        Projection("in->hidden", "in", "hidden", Dense(np.arange(-8, 16, 2, dtype=np.int16).reshape(3, 4))),
        Projection("hidden->out", "hidden", "out", Dense(np.array([[2, 4, 6], [4, 2, -2]], dtype=np.int16))),
    ),
    inputs=(InputPort("in"),),
    outputs=(OutputPort("out"),),
    steps=4,
)
X = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]], dtype=np.uint8)


def write(folder: Path) -> tuple[Path, Path]:
    """(artifact, data) in the folder; the labels are the oracle's own predictions but for the last sample."""
    from ndeploy import oracle
    from ndeploy.decode import encode

    predictions = oracle.run(PROGRAM, encode(PROGRAM, X)).predictions
    assert predictions is not None
    labels = predictions.copy()
    labels[-1] = 1 - labels[-1]
    model, data = folder / "small.ndp", folder / "small.npz"
    meta = {
        "target": "loihi2",
        "source": {"name": "small.nir", "sha256": "0" * 64},
        "settings": {"dt": {"value": 1e-4, "from": "default"}},
    }
    artifact.save(artifact.Artifact(PROGRAM, {"cores": 1}, None, meta), model)
    np.savez(data, x=X, y=labels)
    return model, data
