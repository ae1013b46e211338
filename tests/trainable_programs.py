"""A small spiking classifier in few bits, made by hand, and data that it can learn."""

from __future__ import annotations

import numpy as np

from ndeploy.data import Data
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLi, CubaLif, Input
from ndeploy.synapses import Dense

CLASSES, FEATURES, HIDDEN, STEPS = 3, 12, 16, 4


def dense(name: str, source: str, target: str, shape: tuple[int, int], bits: int, seed: int) -> Projection:
    """Random mantissas over the whole range of the width."""
    weight = np.random.default_rng(seed).integers(-(1 << (bits - 1)), 1 << (bits - 1), shape).astype(np.int16)
    return Projection(name, source, target, Dense(weight), weight_bits=bits)


def classifier(bits: int = 2, seed: int = 0) -> Program:
    """Input of 4 bits, a hidden layer of leaky neurons, a readout that sums its input; all weights random."""
    rng = np.random.default_rng(seed)
    hidden = CubaLif(4095, 1024, rng.integers(2000, 6000, HIDDEN), bias=rng.integers(-50, 50, HIDDEN))
    return Program(
        "classifier",
        (
            Population("in", (FEATURES,), Input(4)),
            Population("hidden", (HIDDEN,), hidden, 1),
            Population("out", (CLASSES,), CubaLi(bias=np.zeros(CLASSES, dtype=np.int64)), 2, scale=1 / 256),
        ),
        (
            dense("first", "in", "hidden", (HIDDEN, FEATURES), bits, seed + 1),
            dense("second", "hidden", "out", (CLASSES, HIDDEN), bits, seed + 2),
        ),
        (InputPort("in"),),
        (OutputPort("out", "v", "last"),),
        STEPS,
    )


def data(samples: int = 96, seed: int = 0) -> Data:
    """Static samples around one centre a class."""
    centres = np.random.default_rng(100).integers(0, 12, (CLASSES, FEATURES))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, samples)
    return Data(np.clip(centres[y] + rng.integers(-3, 4, (samples, FEATURES)), 0, 15), y)
