"""Small networks in the compiler's own terms, and the stages run on them by hand."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping

import numpy as np

from ndeploy.data import Data
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Lowered
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.plugins import target
from ndeploy.quantizer import Quantised, Request

HALF = net.Semantics(dt=1.0, integrator="euler", reset="zero", compare="ge")
"""tau = 2 dt: the membrane halves, as in the spiking transformers."""


def lif(shape: tuple[int, ...], threshold: float = 1.0, tau: float = 2.0, reset: float = 0.0) -> net.LIF:
    """A LIF node with one value a parameter."""
    full = np.ones(shape)
    return net.LIF(tau * full, full, 0 * full, threshold * full, reset * full)


def chain(
    *nodes: tuple[str, net.Node], semantics: net.Semantics = HALF, extra: tuple[tuple[str, str], ...] = ()
) -> net.Network:
    """Nodes one after another, plus `extra` edges."""
    names = [name for name, _ in nodes]
    edges = tuple(itertools.pairwise(names)) + extra
    return net.Network("chain", dict(nodes), edges, semantics)


def quantise(
    network: net.Network,
    steps: int,
    *,
    bits: int = 8,
    chip: str = "lava",
    x: np.ndarray | None = None,
    settings: Mapping[str, float] | None = None,
    attention: str = "parallel",
) -> tuple[Lowered, Quantised]:
    """Lowered and quantised by the uniform method."""
    lowered = lower(network, steps, graded=True)
    planned = schedule(lowered, attention=attention)
    given = {"input_scale": 1.0, "input_bits": 1} if settings is None else settings
    data = None if x is None else Data(x)
    request = Request(lowered, planned, target(chip), bits, "chain", data, given)
    method = importlib.import_module("ndeploy.quantize.uniform")
    return lowered, method.quantize(request, lambda stage: None)
