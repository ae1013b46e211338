"""What fine-tuning minimises: the loss of the answers that an output is decoded to.

The mean of two terms, or the one for which there is something to compare with: cross-entropy against the labels, and
Kullback-Leibler divergence from what the float network answers (Hinton, Vinyals and Dean, "Distilling the knowledge in
a neural network", arXiv 1503.02531). Logits are real values of the output (its integers times their scale) divided by a
temperature: rate codes have no natural one. Networks that answer at their most certain tick are compared at every tick,
and at the most certain one on top (Continuous Thought Machines, arXiv 2505.05522, section 3.5); "ctc" is Graves' loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ndeploy.certainty import most_certain
from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.fixed import DECAY_ONE, IntArray
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLi
from ndeploy.search.score import unit
from ndeploy.train.latent import FloatArray

TEMPERATURES = tuple(2.0 ** (i / 4) for i in range(-24, 49))
SPREAD = 3.0
"""Standard deviation of logits over classes where nothing says what it should be: a sure but not certain answer."""
REDUCED = ("sum", "last", "max")
"""Decodes that make one answer of all steps."""


@dataclass(frozen=True, eq=False)
class Objective:
    """labels: int64 as the data hold them, or None; wanted: the float network's logits, reduced as `logits` does, over
    the temperature, or None. scale: real value of a unit of the output over the temperature, (positions, classes) or
    broadcasting to it. argmax: whether the answer does not depend on the scale of the logits, so that a gain on them
    may be trained along."""

    decode: str
    answer: tuple[int, ...]
    scale: Tensor
    labels: Tensor | None
    wanted: Tensor | None

    @property
    def argmax(self) -> bool:
        return self.decode in (*REDUCED, "ctc")

    def logits(self, output: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """(samples, positions, classes) of an output (samples, steps, ...), or with an axis of steps after samples for
        networks that are compared at every step."""
        return reduced(output.float(), self.decode, self.answer) * self.scale * gain

    def loss(self, output: Tensor, rows: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Mean loss in nats of the outputs (samples, steps, ...) of those samples of the data."""
        logits = self.logits(output, gain)
        terms = []
        if self.labels is not None:
            terms.append(self._hard(logits, self.labels[rows]))
        if self.wanted is not None:
            terms.append(self._soft(logits, self.wanted[rows]))
        return torch.stack(terms).mean()

    def _soft(self, logits: Tensor, wanted: Tensor) -> Tensor:
        if self.decode == "none":
            return ((logits - wanted) ** 2).mean() / (wanted**2).mean().clamp(min=1e-30)
        target = wanted.log_softmax(-1)
        every = (target.exp() * (target - logits.log_softmax(-1))).sum(-1).mean()
        if self.decode != "most-certain":
            return every
        at = torch.arange(len(logits)), self._ticks(logits)
        best = (target[at].exp() * (target[at] - logits[at].log_softmax(-1))).sum(-1).mean()
        return (every + best) / 2

    def _hard(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.decode == "ctc":
            probabilities = logits[:, :, 0].log_softmax(-1).transpose(0, 1)
            lengths = (labels >= 0).sum(1)
            steps = torch.full_like(lengths, len(probabilities))
            blank = probabilities.shape[-1] - 1
            return functional.ctc_loss(
                probabilities, labels.clamp(min=0), steps, lengths, blank=blank, zero_infinity=True
            )
        if self.decode != "most-certain":
            return functional.cross_entropy(logits.flatten(0, 1), labels.reshape(-1))
        ticks = logits.shape[1]
        flat = labels.reshape(len(labels), 1, -1).expand(-1, ticks, -1)
        every = functional.cross_entropy(logits.flatten(0, 2), flat.reshape(-1))
        best = logits[torch.arange(len(logits)), self._ticks(logits)]
        return (every + functional.cross_entropy(best.flatten(0, 1), labels.reshape(-1))) / 2

    def _ticks(self, logits: Tensor) -> Tensor:
        """The tick of every sample at which the integer program would answer: scales are in the logits already."""
        return torch.from_numpy(most_certain(logits.detach().double().flatten(2).numpy(), self._shape(logits), 1.0))

    def _shape(self, logits: Tensor) -> tuple[int, ...]:
        return self.answer or (logits.shape[-1],)


def reduced(output: Tensor, decode: str, answer: tuple[int, ...]) -> Tensor:
    """(samples, positions, classes) where one answer is made of all steps, else with an axis of steps after samples."""
    flat = output.flatten(2)
    if decode in REDUCED:
        found = {"sum": lambda: flat.sum(1), "last": lambda: flat[:, -1], "max": lambda: flat.amax(1)}[decode]()
        return found.unsqueeze(1)
    classes = answer[-1] if answer and decode == "most-certain" else flat.shape[-1]
    return flat.reshape(*flat.shape[:2], -1, classes)


def reference_decode(program: Program) -> str:
    """How outputs of the float network are read: as the program's, but that a membrane which sums up its input, read
    last, stands for the sum over the steps."""
    port = program.outputs[0]
    neuron = program.population(port.population).neuron
    sums = (
        isinstance(neuron, CubaLi)
        and bool((np.asarray(neuron.du) == DECAY_ONE - 1).all())
        and not np.asarray(neuron.dv).any()
    )
    return "sum" if sums and port.variable == "v" and port.decode == "last" else port.decode


def objective(program: Program, data: Data, reference: FloatArray | None, start: IntArray, decode: str) -> Objective:
    """The objective for the first output of a program.

    reference: the float network's output, (samples, steps, ...), read with `decode`; start: the program's own on the
    data. Raises UsageError ND321 (neither labels nor reference, no answer to compare), ND502 (shapes, classes), ND501
    (a reference that is not finite).
    """
    port = program.outputs[0]
    if (data.y is None or port.decode == "none") and reference is None:
        raise UsageError(
            "ND321",
            f"output '{port.population}' (decode '{port.decode}') has neither labels nor float outputs to learn from",
            help="give an array y of labels in the training data, or the float network to imitate",
        )
    own = reduced(torch.from_numpy(start.astype(np.float32)), port.decode, port.answer)
    shape = program.population(port.population).shape
    real = torch.from_numpy(np.ascontiguousarray(np.broadcast_to(unit(program, port), shape)).astype(np.float32))
    real = real.reshape(own.shape[-2:])
    labels = None
    if data.y is not None and port.decode != "none":
        labels = torch.from_numpy(_checked(data.y, port.decode, own, port.answer))
    wanted = None
    if reference is not None:
        wanted = _wanted(program, reference, own, decode, len(data))
    temperature = 1.0
    if port.decode in REDUCED:
        temperature = _temperature(own * real if wanted is None else wanted, None if wanted is None else labels)
    return Objective(
        port.decode, port.answer, real / temperature, labels, None if wanted is None else wanted / temperature
    )


def _wanted(program: Program, reference: FloatArray, own: Tensor, decode: str, samples: int) -> Tensor:
    port = program.outputs[0]
    if len(reference) != samples or reference.ndim < 3:
        raise UsageError(
            "ND502",
            f"the reference has shape {reference.shape}, the data hold {samples} samples",
            help="give the float network's output on the same samples: (samples, steps, *shape)",
        )
    if not np.isfinite(reference).all():
        raise UsageError("ND501", "the reference holds NaN or infinity", help="check the float network and the data")
    wanted = reduced(torch.from_numpy(reference.astype(np.float32)), decode, port.answer)
    if wanted.shape != own.shape:
        raise UsageError(
            "ND502",
            f"the reference answers in shape {tuple(wanted.shape)}, the program in {tuple(own.shape)}",
            help="give the float network's output for as many steps as the program runs",
        )
    return wanted


def _checked(y: IntArray, decode: str, own: Tensor, answer: tuple[int, ...]) -> IntArray:
    """Labels that belong to the output."""
    samples, classes = len(own), own.shape[-1]
    wanted: tuple[int, ...] = (samples, *answer[:-1]) if decode == "most-certain" else (samples,)
    fits = y.ndim == 2 and len(y) == samples if decode == "ctc" else y.shape == wanted
    if not fits:
        raise UsageError(
            "ND502",
            f"y has shape {y.shape}, the output's answers have {(samples, 'length') if decode == 'ctc' else wanted}",
            help="give one label for each answer, or leave y out and imitate the float network",
        )
    low, top = (-1, classes - 2) if decode == "ctc" else (0, classes - 1)
    if y.size and (int(y.min()) < low or int(y.max()) > top):
        raise UsageError(
            "ND502",
            f"y holds the labels {int(y.min())} to {int(y.max())}, the output has classes 0 to {top}",
            help="number the classes as in training",
        )
    return np.ascontiguousarray(y)


def _temperature(logits: Tensor, labels: Tensor | None) -> float:
    """The divisor at which the float network's answers fit the labels best; where there is not both, the one that
    gives logits a spread of `SPREAD`."""
    if labels is not None and labels.numel() == logits.shape[0] * logits.shape[1]:
        losses = [float(functional.cross_entropy(logits.flatten(0, 1) / t, labels.reshape(-1))) for t in TEMPERATURES]
        return float(TEMPERATURES[int(np.argmin(losses))])
    return max(float(logits.std(-1).mean()) / SPREAD, 1e-30) if logits.shape[-1] > 1 else 1.0
