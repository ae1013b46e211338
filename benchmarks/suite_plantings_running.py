"""Regressions of what runs, prices and places a program: the program stays that of the baseline."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from suite_plantings_compiler import PARAMETERS, one_bit
from suite_plantings_kind import Plant, Planting, Site

from ndeploy import fixed, pipeline, place, plugins
from ndeploy.data import load
from ndeploy.decode import for_data
from ndeploy.energy import estimate
from ndeploy.ir.program import Population, Program
from ndeploy.prices import Price
from ndeploy.sim import evaluators, kernels_graded, plan
from ndeploy.suite import measure
from ndeploy.suite.measured import TIME_OF, Measured

RUN: Any = importlib.import_module("ndeploy.sim.run")  # the package's attribute of that name is the function
RUNS = "what runs it computes something else"
SAME = "the program is the baseline's"
DRIFT = 0.05


def parameter(kind: str) -> Plant:
    """The simulator updates one population with another parameter than the program's."""

    def plant(site: Site, rng: np.random.Generator) -> Planting | None:
        chosen = PARAMETERS[kind](site.deployed.program, rng)
        if chosen is None:
            return None
        population, key, change = chosen

        @contextmanager
        def patch() -> Iterator[None]:
            real = evaluators.evaluator

            def planted(given: Population, *rest: Any) -> Any:
                wrong = given.name == population.name
                return real(replace(given, neuron=change(given.neuron)) if wrong else given, *rest)

            with mock.patch.object(plan, "evaluator", planted):
                yield

        words = (RUNS, f"population '{population.name}'")
        return Planting(
            f"simulator: {kind}", f"{key} of {population.name}", ("spikes",), patch, words=words, leading=(SAME,)
        )

    return plant


def links(kind: str) -> Plant:
    """The simulator reads one weight wrong, or lets one projection arrive a model step late."""

    def plant(site: Site, rng: np.random.Generator) -> Planting | None:
        program = site.deployed.program
        chosen = program.projections[int(rng.integers(len(program.projections)))]
        if kind == "delay":
            wrong = replace(chosen, delay=chosen.delay + program.period)
        else:
            wrong = replace(chosen, synapses=replace(chosen.synapses, weight=one_bit(chosen, rng)))

        @contextmanager
        def patch() -> Iterator[None]:
            real = plan.schedule

            def planted(given: Program) -> Any:
                parts = tuple(wrong if p.name == wrong.name else p for p in given.projections)
                return real(replace(given, projections=parts))

            with mock.patch.object(plan, "schedule", planted):
                yield

        words = (RUNS, f"population '{chosen.target}'")
        return Planting(f"simulator: {kind}", chosen.name, ("spikes",), patch, words=words, leading=(SAME,))

    return plant


def sigmoid(site: Site, rng: np.random.Generator) -> Planting | None:
    """One entry of the table by which every gate is computed."""
    gates = [p.name for p in site.deployed.program.populations if p.neuron.kind in ("gate", "silu")]
    if not gates:
        return None
    at = int(rng.integers(256 - 32, 256 + 32))  # arguments of -2 to 2, where gates are

    @contextmanager
    def patch() -> Iterator[None]:
        table = fixed._SIGMOID.copy()
        table[at] += 8
        with mock.patch.object(fixed, "_SIGMOID", table):
            entries = fixed.sigmoid((np.arange(514) << kernels_graded._STEP) - kernels_graded._LIMIT)
            with mock.patch.object(kernels_graded, "SIGMOID", kernels_graded._packed(entries, 16)):
                yield

    first = tuple(f"first in population '{name}'" for name in gates)
    return Planting(
        "simulator: sigmoid table", f"entry {at}", ("spikes",), patch, words=(RUNS,), any_of=first, leading=(SAME,)
    )


# -- energy ------------------------------------------------------------------------------------------------------------


@contextmanager
def _priced(prices: Callable[[tuple[Price, ...]], tuple[Price, ...]], table: str) -> Iterator[None]:
    real = plugins.target

    def planted(name: str) -> Any:
        found = real(name)
        return replace(found, **{table: prices(getattr(found, table))})

    with mock.patch.object(plugins, "target", planted):
        yield


def _times(price: Price, factor: float) -> Price:
    return replace(price, low=price.low * factor, nominal=price.nominal * factor, high=price.high * factor)


def prices(site: Site, rng: np.random.Generator) -> Planting | None:
    """All prices of the target's table go up, or down, by 5 %."""
    factor = 1 + DRIFT * (1 if rng.random() < 0.5 else -1)

    def patch() -> Any:
        return _priced(lambda found: tuple(_times(p, factor) for p in found), "energy")

    what = f"all prices x {factor:.2f}"
    return Planting("5 % energy: all prices", what, ("energy",), patch, any_of=("price of ",))


def _shares(clean: Measured) -> dict[str, float]:
    """Of the energy, by event."""
    energies = {n: count * each for n, (count, each) in clean.costs.items() if not n.startswith(TIME_OF)}
    total = sum(energies.values())
    return {name: energy / total for name, energy in energies.items() if energy > 0}


def one_price(site: Site, rng: np.random.Generator) -> Planting | None:
    """One event's price moves the energy by 5 %. Idle updates also price rests, so both count."""
    rest = estimate.REST
    shares = _shares(site.clean)
    shares = {name: share for name, share in shares.items() if share > 0.001 and name != rest}
    names = {p.name for p in site.deployed.target.energy}
    able = [name for name in shares if name in names]
    if not able:
        return None
    name = able[int(rng.integers(len(able)))]
    share = shares[name] + (_shares(site.clean).get(rest, 0.0) if name == estimate.IDLE else 0.0)
    factor = 1 + DRIFT / share

    def patch() -> Any:
        return _priced(lambda found: tuple(_times(p, factor) if p.name == name else p for p in found), "energy")

    leading = tuple(f"price of {n} " for n in ((name, rest) if name == estimate.IDLE else (name,)))
    return Planting("5 % energy: one price", f"{name} x {factor:.3g}", ("energy",), patch, any_of=leading)


def counted(site: Site, rng: np.random.Generator) -> Planting | None:
    """One event is counted too often or too seldom, by 5 % of the energy."""
    shares = {name: share for name, share in _shares(site.clean).items() if share > 0.1}
    able = [name for name in shares if name not in ("barrier", "embedded-op", estimate.REST)]
    if not able:
        return None
    name = able[int(rng.integers(len(able)))]
    sign = 1 if rng.random() < 0.5 else -1
    factor = 1 + sign * DRIFT / shares[name]

    @contextmanager
    def patch() -> Iterator[None]:
        real = estimate.tally

        def planted(*given: Any) -> Any:
            found = real(*given)
            events: Mapping[str, Any] = {**found.events, name: found.events[name] * factor}
            return replace(found, events=events)

        with mock.patch.object(estimate, "tally", planted):
            yield

    return Planting(
        "5 % energy: counting",
        f"{name} x {factor:.3g}",
        ("energy",),
        patch,
        words=(f"{name} ", " a sample"),
        leading=(f"{name} ",),
    )


def durations(site: Site, rng: np.random.Generator) -> Planting | None:
    """All of the target's times go up by 5 %."""
    if not site.deployed.target.time or site.clean.numbers["latency"] is None:
        return None

    def patch() -> Any:
        return _priced(lambda found: tuple(_times(p, 1 + DRIFT) for p in found), "time")

    return Planting("5 % latency: all times", "all times x 1.05", ("latency",), patch, words=("time of ",))


# -- cores -------------------------------------------------------------------------------------------------------------


def cores(site: Site, rng: np.random.Generator) -> Planting | None:
    """The placement packs worse: no layer shares a core."""
    if not site.deployed.target.placed:
        return None
    real = place.place
    worse = real(site.deployed.program, site.deployed.target, "layers")
    if worse.cores <= site.deployed.placed.cores:
        return None

    def patch() -> Any:
        return mock.patch.object(place, "place", lambda program, target, *rest: real(program, target, "layers"))

    what = f"{site.deployed.placed.cores} -> {worse.cores} cores"
    return Planting("more cores", what, ("cores",), patch, words=("placed otherwise",), leading=(SAME,))


def small_cores(site: Site, rng: np.random.Generator) -> Planting | None:
    """The placement takes cores for smaller than they are."""
    limit = site.deployed.target.core.synaptic_memory
    if not site.deployed.target.placed or limit.value is None:
        return None
    real = place.place
    for eighths in (7, 6, 5, 4, 3, 2, 1):
        core = replace(site.deployed.target.core, synaptic_memory=replace(limit, value=limit.value * eighths // 8))
        small = replace(site.deployed.target, core=core)
        if real(site.deployed.program, small).cores > site.deployed.placed.cores:
            break
    else:
        return None

    def patch() -> Any:
        return mock.patch.object(place, "place", lambda program, target, *rest: real(program, small, *rest))

    return Planting(
        "more cores",
        f"memory x {eighths}/8",
        ("cores",),
        patch,
        words=("placed otherwise",),
        leading=(SAME,),
    )


# -- times -------------------------------------------------------------------------------------------------------------


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def slower(work: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Takes so many times its processor time."""

    def planted(*given: Any, **more: Any) -> Any:
        began = time.thread_time()
        found = work(*given, **more)
        _burn((factor - 1) * (time.thread_time() - began))
        return found

    return planted


def slow_kernel(factor: float) -> Plant:
    """The simulator's pass over a chunk of samples takes longer."""

    def plant(site: Site, rng: np.random.Generator) -> Planting:
        def patch() -> Any:
            return mock.patch.object(RUN, "run_chunk", slower(RUN.run_chunk, factor))

        words = ("the simulator itself is slower",)
        return Planting(
            f"kernel {factor:g} x slower",
            "",
            ("speed",),
            patch,
            words=words,
            leading=(SAME,),
            timed=True,
        )

    return plant


def slow_compiler(factor: float) -> Plant:
    """Every stage of the compiler takes longer."""

    def plant(site: Site, rng: np.random.Generator) -> Planting:
        stages = tuple((name, slower(stage, factor)) for name, stage in pipeline.STAGES)

        def patch() -> Any:
            return mock.patch.object(pipeline, "STAGES", stages)

        words = ("compiling itself is slower",)
        return Planting(
            f"compiler {factor:g} x slower",
            "",
            ("compile_time",),
            patch,
            words=words,
            leading=(SAME,),
            timed=True,
        )

    return plant


def _compiled(site: Site) -> bool:
    """Whether the run that is timed is large enough for the compiled kernels."""
    data = load(site.case.data, site.case.limit)
    program = for_data(site.deployed.program, data.x)
    return bool(plan.work(program, min(len(data), measure.PROBE)) > plan.SMALL_WORK)


def lost_kernels(site: Site, rng: np.random.Generator) -> Planting | None:
    """The simulator no longer takes its compiled kernels."""
    if not _compiled(site):
        return None

    @contextmanager
    def patch() -> Iterator[None]:
        real = plan.plan_for
        with mock.patch.object(RUN, "plan_for", lambda program, compiled: real(program, False)):
            yield

    words = ("the simulator itself is slower",)
    return Planting(
        "compiled kernels lost",
        "",
        ("speed",),
        patch,
        words=words,
        leading=(SAME,),
        timed=True,
    )


def lost_path(site: Site, rng: np.random.Generator) -> Planting | None:
    """The simulator's fast paths are no longer taken: the lean update of spiking neurons, the stepping of loops."""
    if not _compiled(site):
        return None

    @contextmanager
    def patch() -> Iterator[None]:
        real = evaluators.LifEvaluator._prepare

        def planted(self: Any) -> None:
            real(self)
            self.common = False

        with (
            mock.patch.object(evaluators.LifEvaluator, "_prepare", planted),
            mock.patch.object(plan.Plan, "blueprint", return_value=None),
        ):
            yield

    words = ("the simulator itself is slower",)
    return Planting("fast paths lost", "", ("speed",), patch, words=words, leading=(SAME,), timed=True)
