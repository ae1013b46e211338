"""How good a program is on calibration data: the loss of its answers, not the error of its layers.

The loss is the mean of two cross-entropies: against the labels, and against what the float network answers, both with
logits divided by the temperature at which the float network fits the labels best (rate codes have no natural one).
Networks that think in ticks are compared at every tick, and against the labels at their most certain one as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.certainty import answers, most_certain
from ndeploy.data import Data
from ndeploy.decode import encode, fitted, for_data, predict
from ndeploy.errors import UsageError
from ndeploy.evaluate import accuracies
from ndeploy.fixed import IntArray
from ndeploy.ir.lowered import FloatArray
from ndeploy.ir.network import Network
from ndeploy.ir.program import OutputPort, Program
from ndeploy.neurons import CubaLi, CubaLif

TEMPERATURES = tuple(2.0 ** (i / 2) for i in range(-8, 17))
OVERFLOW = 1.0
"""What each overflowing population adds to the loss: such a program is a last resort."""
CTC_WEIGHT = 0.5
STATEFUL = (CubaLif, CubaLi)


@dataclass(frozen=True, eq=False)
class Reference:
    """What programs are compared with. output: the float network's, (samples, steps, ...); logits: its answer, reduced
    over steps, (samples, positions, classes), or every tick's, (samples, steps, positions, classes); labels: int64, as
    the data hold them, or the float network's own predictions where `labelled` is False; None where the network gives
    no answers, whatever the data hold. accuracy: the float network's, of whole sequences where the answer is one."""

    output: FloatArray
    logits: FloatArray
    labels: IntArray | None
    labelled: bool
    temperature: float
    accuracy: float | None
    decode: str
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """loss: nats; accuracy: of whole sequences where the answer is one, None without labels; elements: of elements of
    sequences; overflow: populations in which a value left its width."""

    loss: float
    accuracy: float | None
    elements: float | None = None
    overflow: int = 0


def reference(network: Network, data: Data) -> Reference:
    """The float network on the data. Raises UsageError ND502 (shape of x or y), ND503, and what the network raises."""
    from ndeploy.graph.reference import run

    found = run(network, data.x, None if is_sequence(network, data) else network.steps, x_scale=data.x_scale)
    output = np.asarray(next(iter(found.outputs.values())), dtype=np.float64)
    decode, answer = network.decode, network.answer
    own = predict(output, decode, answer)
    labels = data.y if data.y is not None else own
    accuracy = _accuracy(own, labels, decode)[0]
    logits = _logits(output, decode, answer, 1.0)
    return Reference(
        output,
        logits,
        labels if own is not None else None,
        data.y is not None and own is not None,
        _temperature(logits, labels, decode),
        accuracy,
        decode,
        answer,
    )


def score(program: Program, data: Data, wanted: Reference, threads: int | None = None) -> Score:
    """The program on the same data through the simulator."""
    from ndeploy.sim import run

    program = for_data(program, data.x)
    result = run(program, encode(program, data.x, data.x_scale), counts=False, threads=threads)
    port = program.outputs[0]
    return judge(
        result.outputs[port.population],
        result.predictions,
        port,
        unit(program, port),
        wanted,
        # graded messages are clipped by design, states are not
        sum(1 for name, n in result.overflow.items() if n and isinstance(program.population(name).neuron, STATEFUL)),
    )


def judge(
    output: npt.NDArray[Any],
    predictions: IntArray | None,
    port: OutputPort,
    scale: FloatArray,
    wanted: Reference,
    overflow: int = 0,
) -> Score:
    """The score of an output (samples, steps, ...) whose units are worth `scale`."""
    logits = _logits(output * scale, port.decode, port.answer, 1.0)
    accuracy, elements = _accuracy(predictions, wanted.labels, wanted.decode)
    t = wanted.temperature
    if wanted.decode == "none":
        loss = float(np.mean((logits - wanted.logits) ** 2) / max(float(np.mean(wanted.logits**2)), 1e-30))
        return Score(loss + OVERFLOW * overflow, None, None, overflow)
    soft = _soft(logits / t, wanted.logits / t)
    hard = soft
    if wanted.labels is not None:
        hard = _hard(logits, wanted, t, output * scale, port)
    return Score(0.5 * (soft + hard) + OVERFLOW * overflow, accuracy, elements, overflow)


def unit(program: Program, port: OutputPort) -> FloatArray:
    """The real value of one unit of an output, broadcasting over its shape."""
    if port.variable == "message" and port.scale != 1.0:
        return np.asarray(port.scale)
    population = program.population(port.population)
    if port.variable == "message":
        return np.ones(())
    return np.asarray(population.scale, dtype=np.float64)


def is_sequence(network: Network, data: Data) -> bool:
    """Whether a sample holds a value for every model step."""
    from ndeploy.decode import sample_shape
    from ndeploy.ir.network import Input

    shape = sample_shape([node.shape for node in network.nodes.values() if isinstance(node, Input)])
    return data.x.ndim == len(shape) + 2


def _logits(output: FloatArray, decode: str, answer: tuple[int, ...], temperature: float) -> FloatArray:
    read = answers(output, answer if decode in ("most-certain", "ctc") else ()).astype(np.float64)
    if decode == "sum":
        return np.asarray(read.sum(axis=1) / temperature)
    if decode == "last":
        return read[:, -1] / temperature
    if decode == "max":
        return np.asarray(read.max(axis=1) / temperature)
    return read / temperature


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _soft(logits: FloatArray, wanted: FloatArray) -> float:
    """Cross-entropy against the float network's probabilities, less their entropy: the Kullback-Leibler divergence."""
    target = _log_softmax(wanted)
    return float((np.exp(target) * (target - _log_softmax(logits))).sum(axis=-1).mean())


def _hard(logits: FloatArray, wanted: Reference, t: float, output: FloatArray, port: OutputPort) -> float:
    labels = wanted.labels
    if labels is None or wanted.decode == "ctc":
        # the divergence at every tick says it all; whole answers count on top
        soft = _soft(logits / t, wanted.logits / t)
        found = predict(output, wanted.decode, wanted.answer)
        if labels is None or found is None:
            return soft
        length = max(found.shape[1], labels.shape[1])
        wrong = (fitted(found, length) != fitted(labels, length)).any(axis=1)
        return soft + CTC_WEIGHT * float(wrong.mean())
    if wanted.decode == "most-certain":
        ticks = most_certain(output, port.answer, 1.0)
        logits = logits[np.arange(len(logits)), ticks]
    return _cross_entropy(logits / t, labels)


def _cross_entropy(logits: FloatArray, labels: IntArray) -> float:
    flat = _log_softmax(logits).reshape(-1, logits.shape[-1])
    chosen = labels.reshape(-1)
    inside = (chosen >= 0) & (chosen < logits.shape[-1])
    picked = flat[np.arange(len(flat)), np.where(inside, chosen, 0)]
    return -float(np.where(inside, picked, 0.0).mean())


def _temperature(logits: FloatArray, labels: IntArray | None, decode: str) -> float:
    """The divisor of the logits at which the float network's answers fit the labels best; 1 where it has its own."""
    if decode not in ("sum", "last", "max") or labels is None or labels.size != len(logits) * logits.shape[1]:
        return 1.0
    losses = [_cross_entropy(logits / t, labels) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _accuracy(predictions: IntArray | None, labels: IntArray | None, decode: str) -> tuple[float | None, float | None]:
    if predictions is None or labels is None:
        return None, None
    if decode == "ctc" and labels.ndim == 2 and labels.shape[1] != predictions.shape[1]:
        labels = fitted(labels, max(labels.shape[1], predictions.shape[1]))
        predictions = fitted(predictions, labels.shape[1])
    elif predictions.shape != labels.shape:
        raise UsageError(
            "ND502",
            f"y has shape {labels.shape}, the network's predictions have {predictions.shape}",
            help="give one label a sample, or leave y out",
        )
    accuracy, sequences = accuracies(predictions, labels, decode)
    return (sequences, accuracy) if sequences is not None else (accuracy, None)
