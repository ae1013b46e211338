"""The compiler: one tuple gives the order of the stages; each takes the state so far and returns it extended.

Stages are pure but for `load`, which reads the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndeploy.budget import Budget, Search
from ndeploy.errors import UsageError
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.network import Input, Network
from ndeploy.ir.program import Program

if TYPE_CHECKING:
    from ndeploy.data import Data
    from ndeploy.ir.lowered import Lowered
    from ndeploy.passes.schedule import Schedule
    from ndeploy.place import Placed
    from ndeploy.quantizer import Quantised, Request
    from ndeploy.search.explanation import Explanation
    from ndeploy.settings import Settings
    from ndeploy.target import Target


@dataclass(frozen=True)
class CompileOptions:
    """What a user may choose. steps: model steps a sample, None for what the file or data say; auto_steps: fewer may be
    chosen to keep to the budget.

    coding: "none" or "sigma-delta"; threshold: of sigma-delta coding, a share of the largest message as text, or "auto"
    for the coarsest that loses no more than accuracy_budget points of accuracy on the calibration data.
    activation_bits: payload of graded messages, None for the method's own choice. budget, search: for methods that
    search. finetune: samples with labels to train on, as integers, for so many epochs; rate: of learning, None for the
    default. place: objective of the placement; by the rates of the calibration data where it weighs messages.
    """

    target: str = "loihi2"
    steps: int | None = None
    auto_steps: bool = False
    bits: int = 8
    method: str = "uniform"
    settings: Mapping[str, str] = field(default_factory=dict)
    attention: str = "parallel"
    mode: str = "auto"
    calibration: Path | None = None
    coding: str = "none"
    threshold: str = "auto"
    accuracy_budget: float = 0.5
    activation_bits: int | None = None
    budget: Budget = field(default_factory=Budget)
    search: Search = field(default_factory=Search)
    finetune: Path | None = None
    epochs: int = 0
    rate: float | None = None
    place: str = "cores"


@dataclass(frozen=True, eq=False)
class Compiled:
    """What compiling gives; `network` is the float original with every semantic choice recorded, `explanation` says why
    widths were chosen where a method searched for them."""

    program: Program
    placed: Placed
    network: Network
    target: Target
    diagnostics: tuple[Diagnostic, ...] = ()
    explanation: Explanation | None = None


@dataclass(frozen=True, eq=False)
class _State:
    """The compiler's state between stages: a field is None until its stage has run."""

    path: Path
    options: CompileOptions
    settings: Settings
    target: Target
    calibration: Data | None = None
    network: Network | None = None
    lowered: Lowered | None = None
    schedule: Schedule | None = None
    quantised: Quantised | None = None
    placed: Placed | None = None
    coding: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    progress: Callable[[str], None] = lambda stage: None


def _load(state: _State) -> _State:
    from ndeploy.data import load
    from ndeploy.plugins import recognise

    converter, contents = recognise(state.path)
    network = converter.load(state.path, contents, state.settings)
    calibration = None if state.options.calibration is None else load(state.options.calibration)
    return replace(state, network=network, calibration=calibration)


def _lower(state: _State) -> _State:
    from ndeploy.passes.lower import lower
    from ndeploy.passes.max_pool import expand_max_pools
    from ndeploy.search.steps import require_prices

    assert state.network is not None
    if state.options.budget.energy_joules is not None:
        require_prices(state.target)  # now, not after the float network has run
    payload = state.target.widths.payload.value
    steps = _steps(state, state.network)
    network = expand_max_pools(state.network)
    lowered = lower(network, steps, graded=payload is None or payload > 1, coding=state.options.coding)
    return replace(state, lowered=lowered, network=replace(state.network, steps=steps))


def _steps(state: _State, network: Network) -> int:
    """--steps, then what the file says, then a sequence in the calibration data."""
    from ndeploy.data import load
    from ndeploy.decode import sample_shape

    asked = state.options.steps if state.options.steps is not None else network.steps
    shapes = [node.shape for node in network.nodes.values() if isinstance(node, Input)]
    x = None if state.calibration is None else state.calibration.x
    if x is not None and shapes:
        shape = sample_shape(shapes)
        _require_samples("calibration", x.shape, shape)
        if x.shape[1:] != shape:
            asked = int(x.shape[1]) if asked is None else asked
    if state.options.finetune is not None and shapes:
        # now, not after a search of minutes
        _require_samples("data to train on", load(state.options.finetune).x.shape, sample_shape(shapes))
    if asked is None:
        raise UsageError(
            "ND204",
            "the number of model steps a sample is not known",
            help=f"give --steps {'auto:T' if state.options.auto_steps else 'T'}, or --calibration with sequences",
        )
    if asked < 1:
        raise UsageError("ND205", f"{asked} model steps", help="give --steps 1 or more")
    return asked


def _require_samples(what: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raises UsageError ND502 for an array of samples that are neither of that shape nor sequences of it."""
    if found[1:] != shape and found[2:] != shape:
        raise UsageError(
            "ND502",
            f"{what}: a sample has shape {found[1:]}, the network takes {shape} or a sequence of it",
            help="reshape x in the file",
        )


def _schedule(state: _State) -> _State:
    from ndeploy.passes.long_delays import relay_long_delays
    from ndeploy.passes.schedule import schedule

    assert state.lowered is not None
    planned = schedule(state.lowered, attention=state.options.attention, mode=state.options.mode)
    stored = state.target.widths.delay.value
    # a projection of delay d stores a message for d - 1 chip steps: the first is the way itself
    lowered, planned = relay_long_delays(state.lowered, planned, None if stored is None else stored + 1)
    notes: tuple[Diagnostic, ...] = ()
    if lowered.added:
        what = "; ".join(f"'{name}': {why}" for name, why in lowered.added)
        how_many = f"{len(lowered.added)} populations" if len(lowered.added) > 1 else "a population"
        help_ = "nothing to do: what they take is placed and charged"
        notes = (Diagnostic("ND208", f"{how_many} added: {what}", help_),)
    return replace(state, lowered=lowered, schedule=planned, diagnostics=state.diagnostics + notes)


def _request(state: _State) -> tuple[Request, tuple[Diagnostic, ...]]:
    """What a quantisation method is asked, and remarks on the calibration data."""
    from ndeploy.observation import Asked, observation
    from ndeploy.quantizer import Request

    assert state.lowered is not None
    assert state.schedule is not None
    assert state.network is not None
    given = _stated_input(state.network) | {
        key: float(state.settings.get(key, float))
        for key in ("input_bits", "input_scale", "input_signed")
        if key in state.options.settings
    }
    options = state.options
    narrow = options.activation_bits is not None or options.budget.spike_bits is not None
    asked = Asked(options.activation_bits, frozenset(options.settings), narrow)
    seen = observation(state.network, state.lowered, state.calibration, asked, state.settings, state.progress)
    made = Request(
        state.lowered,
        state.schedule,
        state.target,
        state.options.bits,
        state.path.name.split(".")[0],
        seen.calibration,
        given,
        seen.observed,
        state.options.activation_bits,
        moments=seen.moments,
        histograms=seen.histograms,
        clip=seen.clip,
        budget=state.options.budget,
        search=state.options.search,
        network=state.network,
        settings=state.settings,
    )
    return made, seen.told


def _quantise(state: _State) -> _State:
    from ndeploy.plugins import methods

    known = methods()
    if state.options.method not in known:
        raise UsageError(
            "ND205", f"unknown quantisation method '{state.options.method}'", help=f"choose one of {', '.join(known)}"
        )
    request, told = _request(state)
    state = replace(state, diagnostics=state.diagnostics + told)
    method = known[state.options.method]
    if state.options.coding == "none":
        quantised = method.quantize(request, state.progress)
        return replace(state, quantised=quantised, diagnostics=state.diagnostics + quantised.diagnostics)
    from ndeploy.passes.delta_threshold import with_threshold

    quantised, coding = with_threshold(
        request, method.quantize, state.options.threshold, state.options.accuracy_budget, state.progress
    )
    state = replace(state, coding=coding)
    if coding["threshold"] == 0 and coding["chosen"] == "auto":
        nothing = Diagnostic(
            "ND211",
            f"no threshold of sigma-delta coding stays within {state.options.accuracy_budget:g} points on the "
            "calibration data: every change is sent",
            "raise --accuracy-budget, give more calibration samples, or leave out --coding",
        )
        state = replace(state, diagnostics=(*state.diagnostics, nothing))
    return replace(state, quantised=quantised, diagnostics=state.diagnostics + quantised.diagnostics)


def _stated_input(network: Network) -> dict[str, float]:
    """What the network itself says of its input's payload: one that comes quantised takes whole numbers as they are."""

    stated = [node for node in network.nodes.values() if isinstance(node, Input) and node.whole is not None]
    if not stated or stated[0].whole is None:
        return {}
    low, high = stated[0].whole
    bits = max(1, high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    return {"input_bits": bits, "input_scale": stated[0].unit, "input_signed": float(low < 0)}


def _tune(state: _State) -> _State:
    from ndeploy.tune import Training, tuned

    options = state.options
    if options.finetune is None:
        return state
    assert state.quantised is not None
    assert state.lowered is not None
    assert state.network is not None
    journal = None if options.search.journal is None else Path(f"{options.search.journal}.training")
    training = Training(options.finetune, options.epochs, options.rate, options.search.seed, journal)
    made = tuned(
        state.quantised, state.lowered, state.network, state.target, training, state.calibration, state.progress
    )
    return replace(state, quantised=made)


def _check(state: _State) -> _State:
    from ndeploy.check import check

    assert state.quantised is not None
    return replace(state, diagnostics=state.diagnostics + check(state.quantised.program, state.target))


def _place(state: _State) -> _State:
    from ndeploy.energy.rates import rates
    from ndeploy.place import place

    assert state.quantised is not None
    program, objective = state.quantised.program, state.options.place
    found, told = rates(program, state.calibration, objective, state.progress)
    placed = place(program, state.target, objective, found)
    return replace(state, placed=placed, diagnostics=state.diagnostics + told)


STAGES: tuple[tuple[str, Callable[[_State], _State]], ...] = (
    ("loading", _load),
    ("lowering", _lower),
    ("scheduling", _schedule),
    ("quantising", _quantise),
    ("fine-tuning", _tune),
    ("checking", _check),
    ("placing", _place),
)
"""The order of the passes."""


def compile_model(
    path: Path, options: CompileOptions, progress: Callable[[str], None] = lambda stage: None
) -> Compiled:
    """Compile a model file for a target.

    Raises UsageError (exit 2) for a bad file, option or data, RefusedError (exit 1) for a network that cannot be built.
    """
    from ndeploy.step_choice import chosen_steps

    choice = None
    if options.auto_steps:
        begun = _run(_begin(path, options, progress), STAGES[:2])
        assert begun.network is not None
        choice = chosen_steps(path, options, begun.network, compile_model, progress)
        options = replace(options, steps=choice.steps, auto_steps=False)
    state = _run(_begin(path, options, progress), STAGES)
    _check_settings(state)
    assert state.quantised is not None
    assert state.network is not None
    assert state.placed is not None
    meta: dict[str, Any] = {
        "family": state.network.family,
        "settings": {**state.network.settings, **state.settings.record},
        "target": state.target.name,
        "bits": options.bits,
        "method": options.method,
        "attention": options.attention,
    }
    typical = {name: node.typical for name, node in state.network.nodes.items() if isinstance(node, Input)}
    if any(typical.values()):
        meta["typical"] = typical
    if state.coding:
        meta["coding"] = dict(state.coding)
    explanation = state.quantised.explanation
    if choice is not None:
        meta["step_choice"] = choice.to_json()
        if explanation is not None:
            explanation = replace(explanation, notes=(*explanation.notes, f"{choice.steps} model steps: {choice.why}"))
    program = replace(state.quantised.program, meta=meta)
    compiled = Compiled(program, state.placed, state.network, state.target, state.diagnostics, explanation)
    _check_energy(compiled, path, options, state.calibration)
    return compiled


def _check_energy(compiled: Compiled, path: Path, options: CompileOptions, calibration: Data | None) -> None:
    """Raises RefusedError ND306 where a sample takes more than the budget, UsageError ND305 where nothing tells."""
    from ndeploy.search.steps import check_energy
    from ndeploy.step_choice import SAMPLES, quick

    if options.budget.energy_joules is None:
        return
    if calibration is None:
        raise UsageError(
            "ND305", "an energy budget is judged by events on calibration data", help="give --calibration DATA.npz"
        )
    fewer = quick(path, options, compiled.network, compile_model)
    check_energy(compiled, options.budget, calibration.spread(SAMPLES), fewer, options.bits)


def quantisation_request(
    path: Path, options: CompileOptions, progress: Callable[[str], None] = lambda stage: None
) -> tuple[Request, tuple[Diagnostic, ...]]:
    """All that comes before a method chooses widths: what it would be asked, and the warnings so far.

    Raises what `compile_model` raises up to there.
    """
    before = STAGES[: [name for name, _ in STAGES].index("quantising")]
    state = _run(_begin(path, options, progress), before)
    request, told = _request(state)
    _check_settings(state)
    return request, state.diagnostics + told


def _begin(path: Path, options: CompileOptions, progress: Callable[[str], None]) -> _State:
    from ndeploy.plugins import target
    from ndeploy.settings import Settings

    given = dict(options.settings)
    if options.steps is not None:
        given["steps"] = str(options.steps)
    return _State(path, options, Settings(given), target(options.target), progress=progress)


def _run(state: _State, stages: Iterable[tuple[str, Callable[[_State], _State]]]) -> _State:
    for name, stage in stages:
        state.progress(name)
        state = stage(state)
    return state


def _check_settings(state: _State) -> None:
    """Raises UsageError ND205 where --set gave what nothing read."""
    unused = state.settings.unused()
    if unused:
        raise UsageError(
            "ND205",
            f"--set {', '.join(unused)}: nothing in this model reads it",
            help="check the spelling; `ndeploy inspect MODEL` lists the settings of a family",
        )
