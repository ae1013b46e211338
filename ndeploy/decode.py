"""From a sample to messages at the input, and from outputs to an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.calibration import only_signs
from ndeploy.certainty import answers_at, most_certain
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.program import InputPort, Program


def sample_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """A sample's shape: the input's own or, for several inputs, all of them flattened one after another."""
    return shapes[0] if len(shapes) == 1 else (sum(math.prod(shape) for shape in shapes),)


def _input_shapes(program: Program) -> list[tuple[int, ...]]:
    return [program.population(port.population).shape for port in program.inputs]


def for_data(program: Program, x: npt.NDArray[np.generic]) -> Program:
    """The program with as many model steps as the sequences of x (samples, steps, *shape) have; itself for static x."""
    if encodes_sequences(program, x) and x.shape[1] != program.steps:
        return replace(program, steps=int(x.shape[1]))
    return program


def encodes_sequences(program: Program, x: npt.NDArray[np.generic]) -> bool:
    """Whether x is (samples, steps, *shape), of whatever length."""
    shape = sample_shape(_input_shapes(program))
    return x.ndim == len(shape) + 2 and x.shape[2:] == shape


def encode(program: Program, x: npt.NDArray[np.generic], x_scale: float = 1.0) -> dict[str, IntArray]:
    """Messages of the input populations: int64 (samples, steps, *shape) each.

    x: (samples, *shape) is static and repeated for program.steps; (samples, steps, *shape) is a sequence, whose length
    must be program.steps (`for_data` sees to that). Of a program with several inputs a sample holds all of them,
    flattened, in the order of program.inputs. The value is round(x * x_scale / port.scale), ties to even, clipped to
    the payload. Raises UsageError ND502 (shape; anything but -1 and +1 where the family takes only these), ND503 (no
    samples), ND501 (not a number).
    """
    if x.shape[0] == 0:
        raise UsageError("ND503", "the data holds no samples", help="give an .npz whose x has at least one sample")
    if x.dtype.kind not in "biuf":
        raise UsageError("ND501", f"x has type {x.dtype}", help="store x as integers or floats")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise UsageError("ND501", "x holds NaN or infinity", help="clean the data")
    shapes = _input_shapes(program)
    shape = sample_shape(shapes)
    once = [port.population for port in program.inputs if program.population(port.population).updates == 1]
    sequence = x.shape[1:] == (program.steps, *shape)
    if not sequence and x.shape[1:] != shape:
        names = ", ".join(f"'{port.population}'" for port in program.inputs)
        raise UsageError(
            "ND502",
            f"input {names}: a sample has shape {x.shape[1:]}, the network takes {shape}"
            + ("" if once else f" or, as a sequence of {program.steps} steps, {(program.steps, *shape)}"),
            help="reshape x" + ("" if once else ", or compile with --steps equal to the length of the sequence"),
        )
    if once and encodes_sequences(program, x):
        raise UsageError(
            "ND502",
            f"input '{once[0]}' is static, the data hold a sequence of {x.shape[1]} values a sample",
            help=f"give samples of shape {shape}: one value holds for all model steps",
        )
    messages: dict[str, IntArray] = {}
    parts = split_inputs(program, x)
    looks = program.meta.get("typical", {})
    for port in program.inputs:
        if isinstance(looks, Mapping) and looks.get(port.population) == "signs":
            only_signs(f"input '{port.population}'", parts[port.population], x_scale)
        value = _payload(program, port, parts[port.population], x_scale)
        messages[port.population] = value if sequence else np.repeat(value[:, None], program.steps, axis=1)
    return messages


def split_inputs(program: Program, x: npt.NDArray[np.generic]) -> dict[str, npt.NDArray[Any]]:
    """The part of every sample that belongs to each input population: (samples, *shape) or (samples, steps, *shape).

    x: of a shape that `encode` takes.
    """
    shapes = _input_shapes(program)
    lead = x.shape[: 2 if encodes_sequences(program, x) else 1]
    flat = x.reshape(*lead, -1)
    parts: dict[str, npt.NDArray[Any]] = {}
    first = 0
    for port, own in zip(program.inputs, shapes, strict=True):
        parts[port.population] = flat[..., first : first + math.prod(own)].reshape(*lead, *own)
        first += math.prod(own)
    return parts


def stretched(compiled: Program, program: Program) -> tuple[Diagnostic, ...]:
    """A warning where sequences are longer than what the program was compiled and calibrated for."""
    if program.steps <= compiled.steps:
        return ()
    return (
        Diagnostic(
            "ND505",
            f"the sequences have {program.steps} model steps, the program was compiled for {compiled.steps}: ranges "
            "were proved or calibrated, and ties of thresholds settled, for no more",
            f"overflow is counted; compile with --steps {program.steps} to be sure",
        ),
    )


def clipped(program: Program, x: npt.NDArray[np.generic], x_scale: float = 1.0) -> tuple[Diagnostic, ...]:
    """A warning for every input with values that `encode` clips: a wrong x_scale, or data unlike the calibration's."""
    flat = x.reshape(len(x), -1, sum(math.prod(shape) for shape in _input_shapes(program)))
    first = 0
    found = []
    for port, own in zip(program.inputs, _input_shapes(program), strict=True):
        part = flat[..., first : first + math.prod(own)]
        first += math.prod(own)
        message = program.population(port.population).neuron.message
        factor = x_scale / port.scale
        # what rounds into the payload is not clipped
        low, high = (message.low - 0.5) / factor, (message.high + 0.5) / factor
        if part.min() >= low and part.max() <= high:
            continue
        values = part.astype(np.float64)
        share = float(((values < low) | (values > high)).mean())
        found.append(
            Diagnostic(
                "ND504",
                f"input '{port.population}': {100 * share:.3g} % of the values of x are clipped; they range from "
                f"{float(part.min()):g} to {float(part.max()):g}, the compiled input carries "
                f"{message.low / factor:g} to {message.high / factor:g}",
                "store the x_scale that belongs to x, or compile with calibration data that cover the range",
            )
        )
    return tuple(found)


def _payload(program: Program, port: InputPort, x: npt.NDArray[np.generic], x_scale: float) -> IntArray:
    message = program.population(port.population).neuron.message
    factor = x_scale / port.scale
    if factor == 1.0 and x.dtype.kind != "f":
        return np.clip(x.astype(np.int64), message.low, message.high)
    return np.clip(np.rint(x.astype(np.float64) * factor), message.low, message.high).astype(np.int64)


def outputs_and_predictions(
    program: Program, traces: Mapping[str, IntArray]
) -> tuple[dict[str, IntArray], IntArray | None]:
    """Outputs by population, (samples, steps, *shape), and what `predict` reads in the first (None if "none")."""
    outputs: dict[str, IntArray] = {}
    for port in program.outputs:
        key = "spikes/" if port.variable == "message" else "state/"
        suffix = "" if port.variable == "message" else f"/{port.variable}"
        outputs[port.population] = traces[f"{key}{port.population}{suffix}"]
    first = program.outputs[0]
    return outputs, predict(outputs[first.population], first.decode, first.answer, first.scale)


def predict(output: npt.NDArray[Any], decode: str, answer: tuple[int, ...] = (), scale: float = 1.0) -> IntArray | None:
    """The answer of every sample from the output (samples, steps, ...), as `OutputPort` defines the decodes.

    "sum", "last", "max": argmax over all values of a step, (samples,). "most-certain": (samples, *answer[:-1]), argmax
    over the last axis of `answer` at the most certain step. "ctc": (samples, steps), padded with -1. "none": None.
    scale matters to "most-certain" only. Ties go to the lowest class and the earliest step.
    """
    flat = output.reshape(output.shape[0], output.shape[1], -1)
    if decode == "most-certain":
        return answers_at(output, most_certain(output, answer, scale), answer)
    if decode == "ctc":
        return collapse(flat.argmax(axis=2), flat.shape[2] - 1)
    if decode == "sum":
        scores = flat.sum(axis=1)
    elif decode == "last":
        scores = flat[:, -1]
    elif decode == "max":
        scores = flat.max(axis=1)
    else:
        return None
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def collapse(classes: npt.NDArray[Any], blank: int) -> IntArray:
    """CTC: of the classes (samples, steps) equal neighbours are merged and blanks dropped; -1 fills the end."""
    kept = classes != blank
    kept[:, 1:] &= classes[:, 1:] != classes[:, :-1]
    # stable: what is kept moves to the front in its order
    order = np.argsort(~kept, axis=1, kind="stable")
    moved = np.take_along_axis(np.where(kept, classes, -1), order, axis=1)
    return np.asarray(moved, dtype=np.int64)


def fitted(predictions: IntArray, length: int) -> IntArray:
    """Sequences (samples, n) cut, or padded with -1, to `length`."""
    missing = max(0, length - predictions.shape[1])
    return np.pad(predictions, ((0, 0), (0, missing)), constant_values=-1)[:, :length]
