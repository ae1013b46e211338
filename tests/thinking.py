"""A small program that thinks in ticks, as a compiled CTM does: a loop, a synchronisation, answers at every tick.

Its evidence adds up from tick to tick, faster for larger inputs, so that samples become certain at different ticks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ndeploy import artifact
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import Affine, Input, Synchrony
from ndeploy.synapses import Dense
from ndeploy.synapses.sparse import identity

TICKS = 6
PROGRAM = Program(
    name="thinking",
    populations=(
        Population("x", (4,), Input(8, signed=True), updates=1),
        Population("pre", (4,), Affine(12), 1, scale=0.125),
        Population("post", (4,), Affine(12), 2, scale=0.125),
        Population("synch_out", (4,), Synchrony(12, 4096, np.ones((TICKS, 4), dtype=np.int64), 0, 0, 4), 3, scale=0.25),
        Population("logits", (4,), Affine(16), 4, scale=0.5),
    ),
    projections=(
        Projection("x->pre", "x", "pre", identity(4), unit=True),
        Projection("pre->post", "pre", "post", identity(4), unit=True),
        Projection("post->pre", "post", "pre", identity(4), delay=2, unit=True),
        Projection("post->left", "post", "synch_out", identity(4), "left", unit=True),
        Projection("post->right", "post", "synch_out", identity(4), "right", unit=True),
        Projection("out", "synch_out", "logits", Dense((3 * np.eye(4) - 1).astype(np.int16))),
    ),
    inputs=(InputPort("x"),),
    outputs=(OutputPort("logits", decode="most-certain", answer=(4,), scale=0.5),),
    steps=TICKS,
    period=3,
)
X = np.array([[3, 1, 0, 0], [9, 1, 2, 0], [0, 0, 0, 0], [0, 2, 4, 3], [0, 0, 0, 20], [4, 4, 1, 0]], dtype=np.int64)
Y = np.array([0, 0, 0, 2, 3, 1])


def write(folder: Path, program: Program = PROGRAM, target: str = "loihi2", y: np.ndarray = Y) -> tuple[Path, Path]:
    """(artifact, data) in the folder."""
    model, data = folder / "thinking.ndp", folder / "thinking.npz"
    artifact.save(artifact.Artifact(program, {}, None, {"target": target}), model)
    np.savez(data, x=X, y=y)
    return model, data
