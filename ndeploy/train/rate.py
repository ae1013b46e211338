"""The learning rate where nobody gives one."""

from __future__ import annotations

from ndeploy.ir.program import Program
from ndeploy.neurons import Gate, LayerNorm, Silu, Softmax, Synchrony
from ndeploy.train.finetune import RATE

GRADED_RATE = 0.003
"""Of machines that think in ticks. Measured at 3 bits, bounded, accuracies on the training data: 0.01 flips mantissas
faster than their gradients follow (in the first epoch parity's whole sequences fall from 91 to 57 %, digits, on 256
samples, from 97 to 12 %); ten epochs on parity end at 98.9 % with 0.003 and at 98.0 % with 0.0015."""


def default_rate(program: Program) -> float:
    """The rate of `Tuning` that suits a program: lower where its neurons pass graded values on from tick to tick."""
    thinks = any(isinstance(p.neuron, Gate | LayerNorm | Silu | Softmax | Synchrony) for p in program.populations)
    return GRADED_RATE if thinks else RATE
