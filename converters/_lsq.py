"""Learned step sizes (LSQ: Esser et al., ICLR 2020, arXiv 1902.08153): the weights that such a network computes with.

A checkpoint keeps latent float weights and, beside each layer's, the step s that was learned with them. Forward passes
use w_q = s clamp(round(w / s), -2^(b-1), 2^(b-1) - 1), rounding halves to even. How public code names the step:

| `<layer>.` + | from |
| --- | --- |
| `quan_w_fn.s` | zhutmost/lsq-net: one, or (C_out, 1, ...) |
| `alpha` with `init_state` | hustzxd/LSQuantization and bollossom/QSD-Transformer: (1,) or (C_out,) |
| `step_size` | adaptations of the same that name the parameter as the paper does |
| `quan_w.s`, `quan_w.alpha`, `weight_quantizer.s`, `.scale`, `.step_size` | a quantiser module of its own |

The width b is no parameter of any of them: it comes from the file's args, a sidecar or --set weight_bits, of one layer
from `weight_bits.<layer>` or a number that the file keeps beside the step. It is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import RefusedError, UsageError

from ._options import Options

Array = npt.NDArray[Any]

STEPS = (
    "quan_w_fn.s",
    "step_size",
    "alpha",
    "quan_w.s",
    "quan_w.alpha",
    "weight_quantizer.s",
    "weight_quantizer.scale",
    "weight_quantizer.step_size",
)
"""Where a layer's step is kept, after the layer's name."""
INITIALISED = "init_state"
"""Beside the step: 0 until the step has its first value. What tells an `alpha` from any other."""
WIDTHS = ("nbits", "bits", "n_bits", "bit")
"""Beside the step: the width, where a file keeps it."""
OFFSETS = ("zero_point", "offset", "beta")
"""Beside the step: quantisers with an offset (LSQ+), which symmetric weights have none of."""
ACTIVATIONS = ("quan_a_fn.s", "quan_a.s", "quan_a.alpha", "act.alpha", "act_alpha", "input_quantizer.scale")
"""Steps of quantised activations, after the layer's name."""
NAMES = ("weight_bits", "weight_bit", "nbits_w", "bits_w", "bit_w", "w_bits", "w_bit", "wbits")
"""What training scripts call the width of weights in their args."""
MOST_BITS = 16


@dataclass(frozen=True, eq=False)
class Quantised:
    """state: as the network computes with it, steps and what belongs to them left out; notes: for the record."""

    state: Mapping[str, Array]
    notes: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def quantised(path: Path, state: Mapping[str, Array], options: Options) -> Quantised:
    """The state dict with the weights of every layer that has a learned step replaced by s q, in float64.

    Raises UsageError ND204 (a width that nobody states), ND205 (a width that cannot be), ND125 (a step that does not
    fit its weights, is 0 or was never initialised), RefusedError ND201 (an offset, or quantised activations).
    """
    steps = _steps(state)
    if not steps:
        return Quantised(state)
    low = 1 if options.get("weight_range", ("full", "symmetric"), default="full") == "symmetric" else 0
    result = dict(state)
    widths: dict[str, int] = {}
    for layer, key in steps.items():
        extra = _beside(path, state, layer, key)
        widths[layer] = _width(state, layer, extra, options)
        top = 1 << (widths[layer] - 1)
        step = _step(path, state, layer, key)
        # in the file's own precision: a quotient near a half rounds as it did in training
        whole = np.clip(np.rint(state[f"{layer}.weight"] / step), low - top, top - 1)
        result[f"{layer}.weight"] = whole.astype(np.float64) * step.astype(np.float64)
        for name in (key, *extra):
            del result[name]
    note = {"value": {"formula": "s clamp(round(w / s))", "bits": widths}, "from": "keys"}
    return Quantised(result, {"lsq": note})


def _steps(state: Mapping[str, Array]) -> dict[str, str]:
    """The name of the step by layer."""
    found: dict[str, str] = {}
    for name in state:
        layer = name.removesuffix(".weight")
        if layer == name:
            continue
        for suffix in STEPS:
            key = f"{layer}.{suffix}"
            if key in state and (suffix != "alpha" or f"{layer}.{INITIALISED}" in state):
                found[layer] = key
                break
    return found


def _beside(path: Path, state: Mapping[str, Array], layer: str, key: str) -> tuple[str, ...]:
    """Names of what belongs to a layer's step and is known. Raises UsageError ND125, RefusedError ND201."""
    for suffix in ACTIVATIONS:
        if f"{layer}.{suffix}" in state:
            raise RefusedError(
                "ND201",
                f"'{path}': layer '{layer}' quantises what enters it too ('{layer}.{suffix}')",
                help="spikes are integers already: train with quantised weights and without quantised activations",
            )
    roots = {layer, key.rsplit(".", 1)[0]}
    for name in (f"{root}.{suffix}" for root in roots for suffix in OFFSETS):
        if name in state and np.any(state[name]):
            raise RefusedError(
                "ND201",
                f"'{path}': the weights of layer '{layer}' are quantised with an offset ('{name}'), as in LSQ+",
                help="train with symmetric weights: a synapse is a multiple of one step",
            )
    known = [f"{root}.{suffix}" for root in sorted(roots) for suffix in (INITIALISED, *WIDTHS, *OFFSETS)]
    found = tuple(name for name in known if name in state)
    for name in found:
        if name.endswith(f".{INITIALISED}") and not np.all(state[name]):
            raise UsageError(
                "ND125",
                f"'{path}': the step of layer '{layer}' was never initialised ('{name}' is 0)",
                help="run the network in training mode before saving it, so that it learns its steps",
            )
    return found


def _width(state: Mapping[str, Array], layer: str, extra: tuple[str, ...], options: Options) -> int:
    """The layer's own width (--set or sidecar weight_bits.<layer>), then what the file says of it, then weight_bits."""
    own = f"weight_bits.{layer}"
    stored = [name for name in extra if name.rsplit(".", 1)[1] in WIDTHS and state[name].size == 1]
    if options.settings.stated(own) or options.find(sidecar_only=own)[1]:
        bits = options.get(own, int)
    elif stored:
        bits = options.get(own, int, default=float(state[stored[0]].reshape(-1)[0]), origin="file")
    else:
        bits = options.get("weight_bits", int, NAMES)
    if not 2 <= bits <= MOST_BITS:
        raise UsageError(
            "ND205", f"layer '{layer}': {bits} weight bits", help=f"give 2 to {MOST_BITS}: --set weight_bits=..."
        )
    return int(bits)


def _step(path: Path, state: Mapping[str, Array], layer: str, key: str) -> Array:
    """The step, shaped to broadcast to the layer's weight: one, or one an output. Raises UsageError ND125."""
    weight, step = state[f"{layer}.weight"], state[key]
    outputs = weight.shape[0] if weight.ndim else 1
    if weight.dtype.kind != "f" or step.dtype.kind != "f" or step.size not in (1, outputs):
        raise UsageError(
            "ND125",
            f"'{path}': '{key}' is {step.dtype} of shape {step.shape}, the layer's weight {weight.dtype} of shape "
            f"{weight.shape}",
            help="a learned step is one number, or one for each output",
        )
    if not step.all():
        raise UsageError("ND125", f"'{path}': '{key}' holds a step of 0", help="train the network again")
    return step.reshape(-1, *(1,) * (weight.ndim - 1)) if step.size > 1 else step.reshape(())
