"""Networks of graded nodes through lowering, observation and quantisation, without files."""

from __future__ import annotations

import math

import numpy as np

from ndeploy.data import Data
from ndeploy.ir import network as net
from ndeploy.moments import port_moments
from ndeploy.observe import observe
from ndeploy.passes.graded_form import graded_form
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.plugins import methods, target
from ndeploy.quantizer import Quantised, Request

STEPS = 4


def samples(network: net.Network, count: int, seed: int = 0) -> Data:
    """Normal values; of several inputs a sample holds all, flattened."""
    rng = np.random.default_rng(seed)
    nodes = [n for n in network.nodes.values() if isinstance(n, net.Input)]
    if len(nodes) > 1:
        return Data(rng.normal(size=(count, sum(math.prod(n.shape) for n in nodes))))
    (node,) = nodes
    return Data(rng.normal(size=(count, *(() if node.static else (STEPS,)), *node.shape)))


def request(network: net.Network, data: Data, bits: int = 8, together: bool = True, coding: str = "none") -> Request:
    """What a method is asked. together: with what second-order rounding needs."""
    lowered = lower(network, STEPS, graded=True, coding=coding)
    formed = graded_form(network)
    seen = observe(formed, data, steps=STEPS)
    moments = port_moments(formed, lowered, data) if together else {}
    return Request(lowered, schedule(lowered), target("loihi2"), bits, "test", data, {}, seen, moments=moments)


def quantise(asked: Request) -> Quantised:
    return methods()["uniform"].quantize(asked, lambda stage: None)
