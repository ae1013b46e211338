"""Published workloads of which only shapes are public: estimates from shapes and an activity that is stated."""

from __future__ import annotations

import numpy as np

from ndeploy.energy.ranges import Range
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Dense
from ndeploy.target import Target
from ndeploy.validation.measurements import measured
from ndeploy.validation.rows import ABSENT, ANCHOR, SHAPE_ONLY, Row, exactly, rate

# -- Blouw et al. 2019 -------------------------------------------------------------------------------------------------

KEYWORD_LAYERS = (390, 256, 256, 29)
KEYWORD_STEPS = 10
"""Steps an inference: abr/power_benchmarks, training/nengo_speech_model.py at 90ec1993 (n_steps=10); status code."""
KEYWORD_RATE = 0.1
"""Messages a neuron and step: the same file's max_rate of 100 Hz at steps of 1 ms, so no neuron sends more."""


def dense_program(name: str, layers: tuple[int, ...], steps: int) -> Program:
    """A feed-forward network of dense layers of LIF neurons, one chip step a model step. Weights are ones: it is for
    counting and placing, never for running."""
    neuron = CubaLif(du=4095, dv=0, vth=64)
    populations = [Population("input", (layers[0],), Input())]
    projections = []
    for i, size in enumerate(layers[1:], start=1):
        populations.append(Population(f"layer{i}", (size,), neuron, offset=i))
        weight = np.ones((size, layers[i - 1]), dtype=np.int16)
        projections.append(Projection(f"weight{i}", populations[i - 1].name, f"layer{i}", Dense(weight)))
    return Program(
        name,
        tuple(populations),
        tuple(projections),
        (InputPort("input"),),
        (OutputPort(populations[-1].name),),
        steps,
        mode="pipelined",
    )


def stated_activity(program: Program, every: int) -> Activity:
    """One sample in which neuron i of each population sends at the steps k with k = i modulo `every`, and every update
    gets a message."""
    steps = np.arange(program.steps)[:, None]
    messages = {
        p.name: (steps % every == np.arange(p.size)[None, :] % every).astype(np.int64) for p in program.populations
    }
    arrivals = {
        p.name: np.ones((program.steps, p.size), dtype=np.int64)
        for p in program.populations
        if not isinstance(p.neuron, Input)
    }
    return Activity(1, messages, arrivals)


def keyword_rows(target: Target) -> tuple[Row, ...]:
    """Blouw et al.: a network of published shape, every neuron at the highest rate it was trained for."""
    from ndeploy.energy.estimate import estimate
    from ndeploy.place import place

    program = dense_program("keyword-spotting", KEYWORD_LAYERS, KEYWORD_STEPS)
    activity = stated_activity(program, round(1 / KEYWORD_RATE))
    report = estimate(program, place(program, target), target, activity)
    energy, interval = measured("keyword-spotting/energy"), measured("keyword-spotting/inferences")
    outside = "the measured 81 mW is the board's above idle; how much of it the cores take is not published"
    slow = "0.34 ms a step was measured with input and output at every inference, which is not modelled"
    how = f"shapes, {KEYWORD_STEPS} steps, every neuron at its highest rate of {KEYWORD_RATE:g} messages a step"
    spikes = "the spikes of the measured runs are not published"
    return (
        Row(energy, report.energy, SHAPE_ONLY if report.energy else ABSENT, how, (outside, spikes)),
        Row(
            interval,
            rate(report.interval) if report.interval else None,
            SHAPE_ONLY if report.interval else ABSENT,
            how,
            (slow, spikes),
        ),
    )


# -- NxTF --------------------------------------------------------------------------------------------------------------

_MOBILENET_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_MOBILENET_CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
CLASSES = 1000


def mobilenet_neurons(side: int) -> int:
    """Outputs of the 28 layers of MobileNet of width 1 (Howard et al. 2017, arXiv 1704.04861, table 1) for a square
    image, one neuron each: a convolution, 13 pairs of depthwise and pointwise convolutions, the classes."""
    side = -(-side // 2)
    channels = 32
    total = side * side * channels
    for stride, wider in zip(_MOBILENET_STRIDES, _MOBILENET_CHANNELS, strict=True):
        side = -(-side // stride)
        total += side * side * (channels + wider)
        channels = wider
    return total + CLASSES


def mobilenet_rows(target: Target) -> tuple[Row, ...]:
    """NxTF's MobileNet, as far as neurons alone tell."""
    neurons = mobilenet_neurons(128)
    core, chip = target.core.neurons.value or 0, target.cores_per_chip.value or 0
    share, chips = measured("nxtf-mobilenet/share"), measured("nxtf-mobilenet/chips")
    if not core or not chip:
        return tuple(Row(m, None, ABSENT, f"{target.name} states no neurons a core") for m in (chips, share))
    why = "cores are bound by neurons only here: synapses and axons, which NxTF compresses, are left out"
    how = f"{neurons} neurons of the standard 28 layers at 128x128, {core} a core, {chip} cores a chip"
    return (
        Row(chips, exactly(-(-neurons // (core * chip))), SHAPE_ONLY, how, (why, "a lower bound, no placement")),
        Row(
            share,
            exactly(neurons / (core * chip * chips.value)),
            SHAPE_ONLY,
            f"{how}, over 16 chips",
            ("that `utilisation` means neurons is read into the abstract", why),
        ),
    )


# -- anchors and what cannot be computed -------------------------------------------------------------------------------


def hala_point_rows(target: Target) -> tuple[Row, ...]:
    """The price of a synaptic operation against a whole system's power over its highest rate of operations."""
    price = target.price("synaptic-op.dense")
    measurement = measured("hala-point/operation")
    if price is None or price.scope != "incremental":
        return (Row(measurement, None, ABSENT, f"{target.name} has no price of a synaptic operation"),)
    return (
        Row(
            measurement,
            Range(price.low, price.nominal, price.high),
            ANCHOR,
            "the price of a dense synaptic operation",
            (
                "its low is this figure less static power (docs/energy.md), so that nothing independent is tested",
                "both maxima may not be reached together; the figure holds static power, mesh and neurons too",
            ),
        ),
    )


def absent_rows() -> tuple[Row, ...]:
    """Measurements of which too little is published, each with what is missing."""
    sizes = "the abstract gives neither the layers nor the activity"
    whole = "370 M parameters a token on a multi-chip system: the mapping, activity and batch are not in our sources"
    return (
        Row(measured("clp-snn/energy"), None, ABSENT, "too little is published", (sizes,)),
        Row(measured("clp-snn/time"), None, ABSENT, "too little is published", (sizes,)),
        Row(measured("matmul-free-lm/prefill"), None, ABSENT, "too little is published", (whole,)),
        Row(measured("matmul-free-lm/generation"), None, ABSENT, "too little is published", (whole,)),
    )
