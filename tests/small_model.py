"""A small trained-looking network as a file, with data that it answers: what the command line can search on quickly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from networks import chain, lif

from ndeploy.graph import reference
from ndeploy.graph.write import nir_bytes
from ndeploy.ir import network as net

INPUTS, HIDDEN, CLASSES = 8, 12, 3


def network() -> net.Network:
    """Two layers of weights of very different worth: the first is coarse, the second decides."""
    rng = np.random.default_rng(1)
    first = np.round(rng.normal(size=(HIDDEN, INPUTS))) * 0.5
    semantics = net.Semantics(dt=1.0, integrator="euler", reset="zero", compare="ge")
    return chain(
        ("in", net.Input((INPUTS,))),
        ("first", net.Linear(first)),
        ("hidden", lif((HIDDEN,))),
        ("second", net.Linear(rng.normal(size=(CLASSES, HIDDEN)))),
        ("answer", lif((CLASSES,), 0.7)),
        ("out", net.Output((CLASSES,))),
        semantics=semantics,
    )


def write(folder: Path, samples: int = 48, steps: int = 6) -> tuple[Path, Path, Path]:
    """small.nir, calibration.npz and eval.npz: sequences with labels, nine in ten of them what the network answers."""
    rng = np.random.default_rng(2)
    made = network()
    model, *data = folder / "small.nir", folder / "calibration.npz", folder / "eval.npz"
    model.write_bytes(nir_bytes(made))
    for path in data:
        x = rng.integers(0, 2, (samples, steps, INPUTS)).astype(np.uint8)
        y = reference.run(made, x).predictions()
        assert y is not None
        odd = rng.random(samples) < 0.1
        np.savez(path, x=x, y=np.where(odd, rng.integers(0, CLASSES, samples), y))
    return model, data[0], data[1]
