"""Regressions of the compiler: a pass that makes something else of the same files, planted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from suite_plantings_kind import Plant, Planting, Site

from ndeploy.ir.program import Population, Program, Projection
from ndeploy.neurons import Neuron, Synchrony
from ndeploy.passes import graded, integerise, rounding, schedule, second_order, weights
from ndeploy.suite import measure
from ndeploy.suite.parts import WORDS

DECAYS, THRESHOLDS = ("du", "dv", "factor"), ("vth", "vth_high")
EXACT = ("program",)
WEIGHT_UNIT = 64
Change = Callable[[Neuron], Neuron]


def bumped(value: Any, by: int, most: int, rng: np.random.Generator) -> Any:
    """A parameter that is off by so much, downwards where it would leave 0 to `most`; of an array, one entry."""
    values = np.array(value)
    at = int(rng.integers(values.size))
    flat = values.reshape(-1)
    flat[at] += by if flat[at] + by <= most else -by
    return values if values.ndim else int(values)


def able(program: Program, keys: tuple[str, ...]) -> list[tuple[Population, str]]:
    """Populations with such a parameter."""
    return [(p, key) for p in program.populations for key in keys if key in vars(p.neuron)]


def pick(program: Program, keys: tuple[str, ...], rng: np.random.Generator) -> tuple[Population, str] | None:
    found = able(program, keys)
    return found[int(rng.integers(len(found)))] if found else None


def decay_of(program: Program, rng: np.random.Generator) -> tuple[Population, str, Change] | None:
    """A decay off by 1/4096."""
    chosen = pick(program, DECAYS, rng)
    if chosen is None:
        return None
    population, key = chosen
    new = bumped(getattr(population.neuron, key), 1, 4095, rng)
    return population, key, lambda neuron: replace(neuron, **{key: new})


def threshold_of(program: Program, rng: np.random.Generator) -> tuple[Population, str, Change] | None:
    """A threshold off by one weight unit, of states; by one, of sums."""
    chosen = pick(program, THRESHOLDS, rng)
    if chosen is None:
        return None
    population, key = chosen
    by = 1 if population.neuron.kind == "compare" else WEIGHT_UNIT
    new = bumped(getattr(population.neuron, key), by, 2**23, rng)
    return population, key, lambda neuron: replace(neuron, **{key: new})


def reset_of(program: Program, rng: np.random.Generator) -> tuple[Population, str, Change] | None:
    """Another reset: none at all, a step late, or to another mode."""
    chosen = pick(program, ("reset",), rng)
    if chosen is None:
        return None
    population, key = chosen
    old = getattr(population.neuron, key)
    new = str(rng.choice([mode for mode in ("none", "zero", "subtract", "zero-next") if mode != old]))
    amount = getattr(population.neuron, "vth", 0) if new == "subtract" else vars(population.neuron)["reset_amount"]

    def change(neuron: Neuron) -> Neuron:
        return replace(neuron, reset=new, reset_amount=amount)

    return population, key, change


def table_of(program: Program, rng: np.random.Generator) -> tuple[Population, str, Change] | None:
    """One entry of a synchronisation's table of gains, or of a gate's multipliers."""
    found = [(p, "table") for p in program.populations if isinstance(p.neuron, Synchrony)]
    found += [(p, "gate_multiplier") for p in program.populations if p.neuron.kind == "gate"]
    if not found:
        return None
    population, key = found[int(rng.integers(len(found)))]
    new = bumped(getattr(population.neuron, key), 1, 2**16 - 1, rng)
    return population, key, lambda neuron: replace(neuron, **{key: new})


PARAMETERS: dict[str, Callable[[Program, np.random.Generator], tuple[Population, str, Change] | None]] = {
    "decay": decay_of,
    "threshold": threshold_of,
    "reset mode": reset_of,
    "gate or synchronisation table": table_of,
}


def parameter(kind: str) -> Plant:
    """The compiler chooses another parameter for one population."""

    def plant(site: Site, rng: np.random.Generator) -> Planting | None:
        chosen = PARAMETERS[kind](site.deployed.program, rng)
        if chosen is None:
            return None
        population, key, change = chosen
        word = WORDS.get(key, key.replace("_", " "))

        @contextmanager
        def patch() -> Iterator[None]:
            real = integerise._neuron

            def planted(lowered: Any, choices: Any, units: Any, population_: Any, *rest: Any) -> Any:
                made, scale = real(lowered, choices, units, population_, *rest)
                return (change(made) if population_.name == population.name else made), scale

            with mock.patch.object(integerise, "_neuron", planted):
                yield

        named = f"population '{population.name}': {word} "
        return Planting(
            kind, f"{key} of {population.name}", EXACT, patch, words=(named,), refusal=(population.name, "reset")
        )

    return plant


def one_bit(projection: Projection, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """The projection's weights with one bit of one magnitude flipped."""
    values = np.array(projection.synapses.weight)
    flat = values.reshape(-1)
    at, bit = int(rng.integers(flat.size)), int(rng.integers(max(1, projection.weight_bits - 1)))
    sign = -1 if flat[at] < 0 else 1
    flat[at] = sign * (abs(int(flat[at])) ^ (1 << bit))
    return values


def weight_bit(site: Site, rng: np.random.Generator) -> Planting | None:
    """The compiler stores one weight with a wrong bit."""
    chosen = site.deployed.program.projections[int(rng.integers(len(site.deployed.program.projections)))]
    changed = one_bit(chosen, rng)

    @contextmanager
    def patch() -> Iterator[None]:
        real = integerise.integer_projection

        def planted(*given: Any) -> Projection:
            made = real(*given)
            return replace(made, synapses=replace(made.synapses, weight=changed)) if made.name == chosen.name else made

        with mock.patch.object(integerise, "integer_projection", planted):
            yield

    words = (f"projection '{chosen.name}': weights ",)
    return Planting("one weight bit", chosen.name, EXACT, patch, words=words)


def skip_delay(site: Site, rng: np.random.Generator) -> Planting | None:
    """Delay balancing leaves a skip out: what goes around other layers arrives before it should."""
    program = site.deployed.program
    at = {p.name: p.offset for p in program.populations}
    embedded = {p.name for p in program.populations if p.neuron.embedded}
    skips = [
        j
        for j in program.projections
        if at[j.target] - at[j.source] > 1 + (j.source in embedded) and j.delay == at[j.target] - at[j.source]
    ]
    if not skips:
        return None
    chosen = skips[int(rng.integers(len(skips)))]
    short = 1 + (chosen.source in embedded)

    @contextmanager
    def patch() -> Iterator[None]:
        real = schedule.schedule

        def planted(*given: Any, **more: Any) -> Any:
            made = real(*given, **more)
            return replace(made, delay={**made.delay, chosen.name: short})

        with mock.patch.object(schedule, "schedule", planted):
            yield

    words = (f"projection '{chosen.name}': delay {chosen.delay} -> {short}",)
    refusal = (f"projection '{chosen.name}'", "lag")
    return Planting("dropped skip delay", chosen.name, EXACT, patch, words=words, refusal=refusal)


def late(site: Site, rng: np.random.Generator) -> Planting | None:
    """The schedule lets a projection arrive a model step late."""
    program = site.deployed.program
    chosen = program.projections[int(rng.integers(len(program.projections)))]
    new = chosen.delay + program.period

    @contextmanager
    def patch() -> Iterator[None]:
        real = schedule.schedule

        def planted(*given: Any, **more: Any) -> Any:
            made = real(*given, **more)
            return replace(made, delay={**made.delay, chosen.name: new})

        with mock.patch.object(schedule, "schedule", planted):
            yield

    words = (f"projection '{chosen.name}': delay {chosen.delay} -> {new}",)
    return Planting("delay a model step late", chosen.name, EXACT, patch, words=words, refusal=("delay",))


class _Numpy:
    """numpy with another way to round."""

    def __init__(self, rint: Callable[[Any], Any]) -> None:
        self.rint = rint

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


MODES: dict[str, Callable[[Any], Any]] = {
    "down": np.floor,
    "towards zero": np.trunc,
    "up": np.ceil,
}
PASSES: tuple[tuple[ModuleType, ...], ...] = ((weights, rounding, second_order), (integerise,), (graded,))


def rounding_mode(site: Site, rng: np.random.Generator) -> Planting | None:
    """A pass rounds in another mode: of weights, of neurons' parameters, of graded neurons' parameters."""
    modules = PASSES[int(rng.integers(len(PASSES)))]
    mode = str(rng.choice(list(MODES)))

    @contextmanager
    def patch() -> Iterator[None]:
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(mock.patch.multiple(module, np=_Numpy(MODES[mode])))
            yield

    with patch(), mock.patch.object(measure, "QUICK", 0.0):
        changed = differing(site.deployed.program, measure._deployed(site.case).program)
    if not changed:
        return None
    what = f"{mode} in {modules[0].__name__.rpartition('.')[2]}"
    return Planting("another rounding mode", what, EXACT, patch, any_of=tuple(changed))


def differing(before: Program, after: Program) -> list[str]:
    """Parameters that differ, as causes name them, found by comparing arrays and not digests."""
    found = []
    pairs: list[tuple[str, Any, Any]] = []
    populations = zip(before.populations, after.populations, strict=True)
    pairs += [(f"population '{a.name}'", a.neuron, b.neuron) for a, b in populations]
    for a, b in zip(before.projections, after.projections, strict=True):
        pairs += [(f"projection '{a.name}'", a.synapses, b.synapses), (f"projection '{a.name}'", a, b)]
    pairs += [(f"product '{a.name}'", a, b) for a, b in zip(before.products, after.products, strict=True)]
    for name, then, now in pairs:
        for key, old in vars(then).items():
            if key in ("synapses", "scale", "origin", "unit"):
                continue
            if not np.array_equal(old, vars(now)[key]):
                word = "weights" if key == "weight" else WORDS.get(key, key.replace("_", " "))
                found.append(f"{name}: {word} ")
    inputs = zip(before.inputs, after.inputs, strict=True)
    if any(a.scale != b.scale for a, b in inputs):
        found.append("program: inputs ")
    return found
