"""Integer neuron models. A new model is one new file here: a `Neuron` subclass with a `kind` is found by scanning."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import get_origin

from ndeploy.neurons.affine import Affine
from ndeploy.neurons.base import BINARY, SILENT, Input, Message, Neuron, Parameter, State
from ndeploy.neurons.cuba_li import CubaLi
from ndeploy.neurons.cuba_lif import CubaLif
from ndeploy.neurons.gate import Gate, Silu
from ndeploy.neurons.graded import Compare, ProductNeuron, Relay
from ndeploy.neurons.layer_norm import LayerNorm
from ndeploy.neurons.register import Register
from ndeploy.neurons.sigma_delta import Delta, Sigma, SigmaDelta
from ndeploy.neurons.softmax import Softmax
from ndeploy.neurons.synchrony import Synchrony
from ndeploy.neurons.ternary_lif import TernaryLif


def _scan() -> dict[str, type[Neuron]]:
    found: dict[str, type[Neuron]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for cls in vars(module).values():
            # Python 3.10 calls dict[str, int] a class
            if inspect.isclass(cls) and get_origin(cls) is None and issubclass(cls, Neuron) and hasattr(cls, "kind"):
                found[cls.kind] = cls
    return found


KINDS: dict[str, type[Neuron]] = _scan()

__all__ = [
    "BINARY",
    "KINDS",
    "SILENT",
    "Affine",
    "Compare",
    "CubaLi",
    "CubaLif",
    "Delta",
    "Gate",
    "Input",
    "LayerNorm",
    "Message",
    "Neuron",
    "Parameter",
    "ProductNeuron",
    "Register",
    "Relay",
    "Sigma",
    "SigmaDelta",
    "Silu",
    "Softmax",
    "State",
    "Synchrony",
    "TernaryLif",
]
