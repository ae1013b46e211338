"""Configuration of a CTM: read off the shapes of its tensors, checked against what args, sidecar and --set say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.settings import REQUIRED

from . import _ctm_backbone, _ctm_position
from ._options import Options, image_size
from ._weights import FloatArray, Weights

DECAYS = (0.0, 15.0)
"""The public code clamps the decay parameters to this range before every use."""

IMAGE_SIZES = {
    "cifar10": (32, 32),
    "cifar100": (32, 32),
    "imagenet": (224, 224),
    "mnist": (28, 28),
    "digits": (8, 8),
    "mazes-small": (39, 39),
    "mazes-medium": (39, 39),
    "mazes-large": (99, 99),
}
"""(height, width) by the data set that args name; digits are scikit-learn's."""

TASKS = ("classification", "mazes", "parity", "sort")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Neurons whose synchronisation is measured: left, right, decay r = exp(-parameter), each (S,)."""

    left: IntArray
    right: IntArray
    decay: FloatArray


@dataclass(frozen=True, eq=False)
class Config:
    """neurons: D; memory: M; width: E of attention, 0 without; hidden: of deep neuron-level models, 0 of shallow ones;
    entry: what enters the synapses beside z, "attention" or "x"; answer: as `network.Network.answer`."""

    iterations: int
    neurons: int
    memory: int
    width: int
    heads: int
    synapse_depth: int
    hidden: int
    normed: bool
    outputs: int
    out: Pairs
    action: Pairs | None
    task: str
    answer: tuple[int, ...]
    backbone: str
    input_shape: tuple[int, ...]
    bn_eps: float = 1e-5
    record: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """Name of the value that enters the synapses beside z."""
        return "x" if self.action is None else "attention"


def read(weights: Weights, options: Options) -> Config:
    """The configuration of a checkpoint.

    Raises UsageError ND125 (tensors that contradict each other), ND204 (what weights do not say and nobody states),
    ND205 (a value that cannot be), ND209 (a value that the weights contradict), RefusedError ND201 (an extension).
    """
    _refuse_extensions(weights)
    facts = _Facts(options)
    neurons, memory = weights.take("start_trace", None, None).shape
    facts.agree("d_model", neurons)
    facts.agree("memory_length", memory)
    depth = _synapse_depth(weights)
    facts.agree("synapse_depth", depth)
    hidden, normed = _neuron_models(weights, facts, memory)
    outputs = weights.take("output_projector.0.weight", None, None).shape[0]
    facts.agree("out_dims", outputs)
    attends = "attention.in_proj_weight" in weights
    kinds = _ctm_backbone.kinds(weights)
    by_steps = options.settings.stated("steps")  # --steps is another name for the ticks, and wins
    options.require(*(() if by_steps else ("iterations",)), *(("heads",) if attends else ()))
    width, heads = _attention(weights, options, facts, kinds) if attends else (0, 0)
    select, out, action = _selection(weights, facts, neurons, attends)
    facts.agree("neuron_select_type", select, alike=_alike(select, out, action, neurons))
    iterations: int = (
        options.settings.get("steps", int) if by_steps else options.get("iterations", int, ("iterations",))
    )
    if iterations < 1:
        raise UsageError("ND205", f"iterations is {iterations}", help="give 1 or more ticks: --set iterations=...")
    task = _task(options, kinds[0], attends)
    shape = _reshaper(options, outputs, task)
    return Config(
        iterations=iterations,
        neurons=neurons,
        memory=memory,
        width=width,
        heads=heads,
        synapse_depth=depth,
        hidden=hidden,
        normed=normed,
        outputs=outputs,
        out=out,
        action=action,
        task=task,
        answer=shape if len(shape) > 1 else (),
        backbone=kinds[0],
        input_shape=_input_shape(weights, options, facts, kinds[0], neurons, attends, shape),
        bn_eps=options.get("bn_eps", float, default=1e-5),
        record=facts.record,
    )


class _Facts:
    """What the weights say, compared with whatever else is said of it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.record: dict[str, dict[str, Any]] = {}
        """Notes that are no settings."""

    def agree(self, key: str, value: Any, *names: str, alike: Sequence[Any] = ()) -> None:
        """Note a fact of the weights. names: other names in args; alike: values that mean the same.

        Raises UsageError ND209 where --set, sidecar or args say something else.
        """
        stated = self.options.settings.get(key, type(value), value, "weights")
        for where, name, said in (("--set", key, stated), *self.options.said(key, *names)):
            same = str(said).lower() == str(value).lower() or (not isinstance(value, str) and _number(said) == value)
            if not same and said not in alike:
                raise UsageError(
                    "ND209",
                    f"{name} is {said} ({where}), but the weights are those of a machine with {key} {value}",
                    help=f"correct {name} where it is stated, or leave it out: it follows from the weights",
                )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _refuse_extensions(weights: Weights) -> None:
    for sign, what in (
        (r"(thought_|static_thought_).*", "attention over the thoughts of earlier ticks (use_thought_attention)"),
        (
            r"(backbone_digit|index_backbone|operator_backbone)\..*",
            "keys and values that change from tick to tick, and ticks that bypass attention (QAMNIST)",
        ),
        (r"start_activated_trace|diagonal_mask_out", "synchronisation over a sliding window of activations (RL)"),
        (r"synapses\.4\.weight", "a synapse model of two gated blocks (RL)"),
    ):
        found = next((name for name in weights.names() if re.fullmatch(sign, name)), None)
        if found is not None:
            raise RefusedError(
                "ND201",
                f"'{weights.path}': tensor '{found}' belongs to an operation that is not supported: {what}",
                help="machines for images, mazes, parity and sorting are supported",
            )


def _synapse_depth(weights: Weights) -> int:
    if "synapses.first_projection.0.weight" not in weights:
        return 1
    blocks = 0
    while f"synapses.down_projections.{blocks}.1.weight" in weights:
        blocks += 1
    if not blocks:
        weights.take("synapses.down_projections.0.1.weight", None, None)
    return blocks + 1


def _neuron_models(weights: Weights, facts: _Facts, memory: int) -> tuple[int, bool]:
    """Hidden units of a deep model, 0 of a shallow one; whether they are normalised."""
    first = weights.take("trace_processor.0.0.w1", memory, None, None)
    deep = "trace_processor.0.2.w1" in weights
    facts.agree("deep_nlms", deep, "deep_memory")
    hidden = 0
    if deep:
        hidden = weights.take("trace_processor.0.2.w1", None, 2, None).shape[0]
        if first.shape[1] != 2 * hidden:
            raise UsageError(
                "ND125",
                f"'{weights.path}': 'trace_processor.0.0.w1' has {first.shape[1]} outputs a neuron, must have two for "
                f"each of the {hidden} inputs of 'trace_processor.0.2.w1'",
                help="the tensors of the checkpoint contradict each other: was it saved from another model?",
            )
        facts.agree("memory_hidden_dims", hidden)
    normed = "trace_processor.0.0.layernorm.weight" in weights
    facts.agree("do_layernorm_nlm", normed, "do_normalisation")
    return hidden, normed


def _attention(weights: Weights, options: Options, facts: _Facts, kinds: tuple[str, ...]) -> tuple[int, int]:
    """(width of attention, heads)."""
    width = weights.take("attention.in_proj_weight", None, None).shape[1]
    facts.agree("d_input", width)
    facts.agree("backbone_type", kinds[0], alike=kinds)
    facts.agree("positional_embedding_type", _ctm_position.kind(weights))
    heads: int = options.get("heads", int, ("heads",))
    if heads < 1 or width % heads:
        raise UsageError(
            "ND205",
            f"{heads} heads do not divide the attention width d_input of {width}",
            help="give the number of heads the model was trained with: --set heads=...",
        )
    return width, heads


def _selection(weights: Weights, facts: _Facts, neurons: int, attends: bool) -> tuple[str, Pairs, Pairs | None]:
    """How neurons are paired, and the pairs of both synchronisations.

    As many decays as neurons are one pair for each; n (n + 1) / 2 are all pairs of n left with n right neurons, upper
    triangle. First-last is the same with neurons in a row.
    """
    out_dense, out = _pairs(weights, facts, "out", neurons)
    if not attends:
        return ("random" if out_dense else "random-pairing"), out, None
    dense, action = _pairs(weights, facts, "action", neurons)
    if dense != out_dense and 1 not in (out.decay.size, action.decay.size):
        raise UsageError(
            "ND125",
            f"'{weights.path}': 'decay_params_out' is one for each "
            f"{'pair of all neurons' if out_dense else 'neuron'}, 'decay_params_action' is not",
            help="the tensors of the checkpoint contradict each other: was it saved from another model?",
        )
    return ("random" if dense or out_dense else "random-pairing"), out, action


def _pairs(weights: Weights, facts: _Facts, side: str, neurons: int) -> tuple[bool, Pairs]:
    """(whether all pairs of the chosen neurons are taken, the pairs)."""
    stored = weights.take(f"decay_params_{side}", None)
    chosen = [_indices(weights, f"{side}_neuron_indices_{end}", neurons) for end in ("left", "right")]
    left, right = chosen
    count = left.size
    if right.size != count or stored.size not in (count, count * (count + 1) // 2):
        raise UsageError(
            "ND125",
            f"'{weights.path}': {count} left and {right.size} right neurons with {stored.size} decays in "
            f"'decay_params_{side}'; must be {count} (random-pairing) or {count * (count + 1) // 2} (all pairs)",
            help="the tensors of the checkpoint contradict each other: was it saved from another model?",
        )
    facts.agree(f"n_synch_{side}", count)
    low, high = DECAYS
    for what, number in (("below", int((stored < low).sum())), ("above", int((stored > high).sum()))):
        if number:
            facts.record[f"decay_{side}_clamped_{what}"] = {"value": number, "from": "weights"}
    decay = np.exp(-np.clip(stored, low, high))
    dense = stored.size != count
    if dense:
        i, j = np.triu_indices(count)
        left, right = left[i], right[j]
    return dense, Pairs(left, right, decay)


def _indices(weights: Weights, name: str, neurons: int) -> IntArray:
    value = weights.take(name, None)
    if (value != np.rint(value)).any() or value.min(initial=0) < 0 or value.max(initial=0) >= neurons or not value.size:
        wrong = [v for v in value if not 0 <= v < neurons or v != int(v)] or ["nothing"]
        raise UsageError(
            "ND125",
            f"'{weights.path}': tensor '{name}' holds {wrong[0]}; neurons are 0 to {neurons - 1}",
            help="the tensors of the checkpoint contradict each other: was it saved from another model?",
        )
    return value.astype(np.int64)


def _alike(select: str, out: Pairs, action: Pairs | None, neurons: int) -> tuple[str, ...]:
    """Other names of the selection: one pair can be any; all pairs of a row of neurons are first-last as well."""
    names: set[str] = set()
    if out.decay.size == 1 and (action is None or action.decay.size == 1):
        names |= {"random", "random-pairing"}
    n = int(out.left.max()) + 1
    first = n * (n + 1) // 2 == out.left.size and _is_row(out, 0, n)
    if action is not None:
        m = neurons - int(action.left.min())
        first = first and m * (m + 1) // 2 == action.left.size and _is_row(action, neurons - m, m)
    if first and (select == "random" or out.decay.size == 1):
        names.add("first-last")
    return tuple(names)


def _is_row(pairs: Pairs, start: int, count: int) -> bool:
    i, j = np.triu_indices(count)
    return bool((pairs.left == start + i).all() and (pairs.right == start + j).all())


def _task(options: Options, backbone: str, attends: bool) -> str:
    dataset, _ = options.find("dataset")
    if not attends:
        default, origin = "sort", "weights"
    elif backbone == "parity_backbone":
        default, origin = "parity", "weights"
    elif isinstance(dataset, str) and dataset.startswith("maze"):
        default, origin = "mazes", "args"
    else:
        default, origin = "classification", "weights"
    task: str = options.settings.get("task", TASKS, default, origin)
    return task


def _reshaper(options: Options, outputs: int, task: str) -> tuple[int, ...]:
    """The shape the output is read in, -1 resolved.

    args lack it in the public code, whose training scripts derive it from other options: [length, 2] for parity,
    [route length, 5] for mazes, [-1] for the classes of images and for sorting.
    """
    default: Any = REQUIRED
    origin = ""
    value, where = options.raw("prediction_reshaper")
    length, of_length = options.find("parity_sequence_length" if task == "parity" else "maze_route_length")
    dataset, of_dataset = options.find("dataset")
    if where:
        default, origin = _text(value), where
    elif task in ("parity", "mazes") and of_length:
        default, origin = f"{length},{2 if task == 'parity' else 5}", of_length
    elif task == "sort":
        default, origin = "-1", "family"
    elif task == "classification" and of_dataset and isinstance(dataset, str):
        default, origin = "-1", of_dataset
    text: str = options.settings.get("prediction_reshaper", str, default, origin)
    try:
        shape = [int(part) for part in re.split(r"[,x\s]+", text.strip("[]() "))]
    except ValueError:
        shape = []
    known = math.prod(n for n in shape if n != -1)
    good = bool(shape) and all(n == -1 or n > 0 for n in shape) and shape.count(-1) <= 1
    if good and -1 in shape:
        shape[shape.index(-1)] = outputs // known
    if not good or math.prod(shape) != outputs or shape[-1] < 2:
        raise UsageError(
            "ND205",
            f"prediction_reshaper is '{text}': it does not divide the {outputs} outputs into classes, two or more on "
            "its last axis",
            help=f"give the shape the outputs are read in, classes last, such as --set prediction_reshaper={outputs}",
        )
    return tuple(shape)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _input_shape(
    weights: Weights,
    options: Options,
    facts: _Facts,
    backbone: str,
    neurons: int,
    attends: bool,
    answer: tuple[int, ...],
) -> tuple[int, ...]:
    if not attends:
        name = "synapses.1.weight" if "synapses.1.weight" in weights else "synapses.first_projection.0.weight"
        entering = weights.take(name, None, None).shape[1] - neurons
        if entering < 1:
            raise UsageError(
                "ND125",
                f"'{weights.path}': '{name}' has {entering + neurons} inputs, no more than the {neurons} neurons: "
                "nothing would enter",
                help="the tensors of the checkpoint contradict each other: was it saved from another model?",
            )
        facts.agree("N_to_sort", entering)
        return (entering,)
    if backbone == "parity_backbone":
        length, where = options.find("parity_sequence_length", sidecar_only="sequence_length")
        default, origin = (length, where) if where else (REQUIRED, "")
        if default is REQUIRED and len(answer) == 2:
            default, origin = answer[0], "prediction_reshaper"  # parity answers once for each number
        sequence: int = options.settings.get("sequence_length", int, default, origin)
        if sequence < 1:
            raise UsageError(
                "ND205", f"sequence_length is {sequence}", help="give 1 or more: --set sequence_length=..."
            )
        return (sequence,)
    dataset, where = options.find("dataset")
    size = image_size(options, IMAGE_SIZES.get(dataset) if isinstance(dataset, str) else None, where)
    return (_ctm_backbone.input_channels(weights, backbone), *size)
