"""Small networks whose weights lie on grids, and programs that take them over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ndeploy.quantize import taken_over
from networks import chain, lif

from ndeploy.data import Data
from ndeploy.ir import network as net
from ndeploy.ir.program import Program
from ndeploy.ir.serial import to_parts
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.plugins import target
from ndeploy.quantizer import Quantised, Request
from ndeploy.settings import Settings

Floats = Any


def quantise(
    network: net.Network,
    steps: int,
    *,
    chip: str = "lava",
    x: Floats | None = None,
    inputs: dict[str, float] | None = None,
    bits: int = 8,
    **given: str,
) -> Quantised:
    lowered = lower(network, steps, graded=True)
    request = Request(
        lowered,
        schedule(lowered),
        target(chip),
        bits,
        "chain",
        None if x is None else Data(x),
        {"input_scale": 1.0, "input_bits": 1} if inputs is None else inputs,
        settings=Settings(given),
    )
    return taken_over.quantize(request, lambda stage: None)


def real_weights(program: Program, name: str) -> Floats:
    """The weights that a projection's mantissas stand for."""
    projection = next(p for p in program.projections if p.name == name)
    weight = projection.synapses.weight
    scale = np.asarray(projection.scale, dtype=np.float64)
    if scale.ndim:
        scale = scale.reshape(-1)[: weight.shape[0]].reshape(-1, *(1,) * (weight.ndim - 1))
    return weight * scale


def layer(rng: np.random.Generator, rows: int, columns: int, bits: int, per_row: bool) -> Floats:
    top = 2 ** (bits - 1) - 1
    whole = rng.integers(-top, top + 1, (rows, columns)).astype(np.float32)
    whole[:, 0] = top
    weight = (whole * np.float32(rng.uniform(0.1, 0.3))).astype(np.float64)
    return weight * (rng.uniform(0.5, 1.5, (rows, 1)) if per_row else 1.0)


def two_layers(rng: np.random.Generator, per_row: bool, bias: float, tau: float = 2.0) -> net.Network:
    return chain(
        ("in", net.Input((7,))),
        ("w0", net.Linear(layer(rng, 6, 7, 4, per_row), rng.normal(size=6) * bias)),
        ("n0", lif((6,), tau=tau)),
        ("w1", net.Linear(layer(rng, 5, 6, 3, per_row), rng.normal(size=5) * bias)),
        ("n1", lif((5,), 0.7, tau=tau)),
        ("w2", net.Linear(layer(rng, 3, 5, 8, False))),
        ("out", net.Output((3,))),
    )


def same(a: Program, b: Program) -> None:
    """Two programs are equal but for what they say of how they were made."""
    (left, arrays), (right, others) = to_parts(replace(a, meta={})), to_parts(replace(b, meta={}))
    assert left == right
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name])
