"""Trainable forms of graded neurons."""

from __future__ import annotations

from ndeploy.neurons import Neuron
from ndeploy.train.neuron import Form

FORMS: dict[type[Neuron], Form] = {}
"""By type of the integer neuron."""
