"""Where the float values of a per-tick verification come from: the artifact's own network, or a recorded trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ndeploy import data as samples
from ndeploy.data import Data
from ndeploy.decode import split_inputs
from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.ticks import Floats

if TYPE_CHECKING:
    from ndeploy.ir.network import Network

AnyArray = npt.NDArray[Any]

NOT_SIGNALS = ("x", "y", "x_scale", "logits", "certainties")
"""Arrays of a trace that are no population's messages."""


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """The float network an artifact was compiled from, run by the reference in float32."""

    network: Network
    program: Program

    def floats(self, part: Data, start: int) -> Floats:
        """Every node's values and the first output's."""
        from ndeploy.graph import reference

        x: Any = part.x
        if len(self.program.inputs) > 1:
            x = split_inputs(self.program, part.x)
        result = reference.run(self.network, x, self.program.steps, x_scale=part.x_scale, trace=True)
        return Floats(result.values, next(iter(result.outputs.values())))


def float_network(network: bytes | None, program: Program) -> FloatNetwork:
    """The network kept in an artifact. Raises UsageError ND709 where none is, and what reading it raises."""
    if network is None:
        raise UsageError(
            "ND709",
            "the artifact does not keep the float network it was compiled from",
            help="compile the model again, or compare with a recorded trace (--against TRACE.npz)",
        )
    from ndeploy.graph.read import read_nir

    return FloatNetwork(read_nir(network), program)


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded float values, all samples: as `Floats`. x: the samples they belong to, None where the file has none."""

    signals: Mapping[str, AnyArray]
    output: AnyArray | None
    x: AnyArray | None

    def floats(self, part: Data, start: int) -> Floats:
        """The recorded values of these samples."""
        own = slice(start, start + len(part))
        signals = {name: value[own] for name, value in self.signals.items()}
        return Floats(signals, None if self.output is None else self.output[own])


def load_trace(path: Path) -> Trace:
    """Float traces as the public CTM code tracks them: pre, post, synch_out, synch_action, attention, ... of shape
    (ticks, samples, ...), perhaps logits of shape (samples, values, ticks), and x, (samples, ...). Empty arrays stand
    for what a network does not have.

    Raises UsageError ND101 (no such file), ND501 (not such a file), ND502 (arrays that disagree on samples or ticks).
    """
    arrays = samples.arrays(path)
    signals = {}
    for name, value in arrays.items():
        if name in NOT_SIGNALS or value.size == 0:
            continue
        if value.ndim < 2:
            raise _bad(path, f"'{name}' has shape {value.shape}, not (ticks, samples, ...)")
        signals[name] = np.moveaxis(value, 0, 1)
    output = None
    if "logits" in arrays:
        logits = arrays["logits"]
        if logits.ndim < 3:
            raise _bad(path, f"'logits' has shape {logits.shape}, not (samples, values, ticks)")
        output = np.moveaxis(logits, -1, 1)
    if output is None and not signals:
        raise _bad(path, "it holds no float traces")
    x = arrays.get("x")
    shapes = {name: value.shape[:2] for name, value in signals.items()}
    if output is not None:
        shapes["logits"] = output.shape[:2]
    if len(set(shapes.values())) > 1 or (x is not None and any(len(x) != n for n, _ in shapes.values())):
        listed = ", ".join(f"{name} {n} samples, {t} ticks" for name, (n, t) in shapes.items())
        raise UsageError(
            "ND502",
            f"'{path}': its arrays disagree: {listed}" + ("" if x is None else f", x {len(x)} samples"),
            help="record all signals in one run: (ticks, samples, ...), logits (samples, values, ticks)",
        )
    return Trace(signals, output, x)


def _bad(path: Path, why: str) -> UsageError:
    return UsageError(
        "ND501",
        f"'{path}' is no trace: {why}",
        help="write it with numpy.savez(path, x=samples, pre=..., post=...), ticks first",
    )


def trace_data(trace: Trace, path: Path, given: Data | None, limit: int | None) -> Data:
    """The samples a trace belongs to: its own x, or those given. Raises UsageError ND502 where they disagree."""
    recorded = len(next(iter(trace.signals.values()))) if trace.signals else len(trace.output)  # type: ignore[arg-type]
    if given is None:
        if trace.x is None:
            raise UsageError(
                "ND502", f"'{path}' holds no x: which samples it belongs to is not known", help="give --data"
            )
        given = Data(trace.x)
    elif trace.x is not None:
        same = min(len(given), len(trace.x))
        ours = given.x[:same] * given.x_scale
        if ours.shape != trace.x[:same].shape or not np.allclose(ours, trace.x[:same], rtol=1e-4, atol=1e-5):
            raise UsageError(
                "ND502",
                f"'{path}' was recorded from other samples than those of --data",
                help="leave --data out: the trace has its own x",
            )
    if len(given) > recorded:
        raise UsageError(
            "ND502", f"{len(given)} samples are given, '{path}' has {recorded}", help=f"give --limit {recorded}"
        )
    return given if limit is None else given.slice(0, limit)
