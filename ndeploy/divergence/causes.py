"""What can make a program answer otherwise than its reference, one cause at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """name: as in reports and JSON; title, program_title: what it is where the reference is the float network, or
    another program; float_remedy, program_remedy: what mends it there."""

    name: str
    title: str
    program_title: str
    float_remedy: str
    program_remedy: str


_RECOMPILE = "compile both artifacts with the same "

CAUSES: tuple[Cause, ...] = (
    Cause(
        "weights",
        "rounding of weights (of graded layers with the biases that make up for it)",
        "other weights",
        "--bits N with a larger N, or --method bit-budget; --finetune DATA where the bits must stay",
        "one artifact's weights were changed: compile again from the same model, " + "--bits and --method",
    ),
    Cause(
        "bias",
        "rounding of biases",
        "other biases",
        "--bits N: the bias shares the unit of the weights; a larger N makes it finer",
        "one artifact's biases were changed: compile again from the same model",
    ),
    Cause(
        "decay",
        "decay factors of 12 bits and their rounding toward zero",
        "other decay factors",
        "no option makes a decay finer than the chip's 12 bits: --finetune DATA, or a larger dt (--set dt=...)",
        _RECOMPILE + "--set dt=... and --set integrator=...",
    ),
    Cause(
        "threshold",
        "rounding of thresholds",
        "other thresholds",
        "--bits N: thresholds are whole multiples of the weights' unit; --set for one the file does not state",
        "one artifact's thresholds were changed: compile again from the same model",
    ),
    Cause(
        "compare",
        "a spike on > where the reference spikes on >=, or the reverse",
        "a spike on > where the reference spikes on >=, or the reverse",
        "--set compare=gt or --set compare=ge, as the network was trained",
        _RECOMPILE + "--set compare=...",
    ),
    Cause(
        "reset",
        "the reset after a spike: its kind, amount, time, and the refractory time",
        "another reset after a spike: its kind, amount, value, or the refractory time",
        "--set reset=... as the network was trained (zero, subtract, delayed-zero, delayed-subtract)",
        _RECOMPILE + "--set reset=...",
    ),
    Cause(
        "delay",
        "model steps between sending a message and its use",
        "other model steps between sending a message and its use",
        "--set recurrent_delay=N for loops; skips are balanced by the compiler: compile again",
        _RECOMPILE + "--set recurrent_delay=... and --mode",
    ),
    Cause(
        "saturation",
        "currents that wrap and membranes that saturate at 24 bits",
        "currents that wrap and membranes that saturate at 24 bits",
        "--calibration DATA that reach the largest currents",
        "compile both with the same --calibration",
    ),
    Cause(
        "activation",
        "the width of messages, of inputs and of graded ones inside, and the integer arithmetic that makes graded ones",
        "another width of messages",
        "--activation-bits N, or --set input_bits=N and --set input_scale=S for the input",
        _RECOMPILE + "--activation-bits and --set input_bits=...",
    ),
    Cause(
        "shift",
        "low bits that a right shift of a summed input drops",
        "another shift of summed inputs",
        "--bits N with a smaller N leaves room for the sum, or --calibration DATA closer to what is run",
        _RECOMPILE + "--bits and --calibration",
    ),
    Cause(
        "arithmetic",
        "multipliers, shifts, gains and tables by which a neuron makes its message",
        "other multipliers, shifts, gains or tables by which a neuron makes its message",
        "no option: the compiler makes them; compile the model again",
        "one artifact's tables or multipliers were changed: compile again from the same model and calibration",
    ),
)
"""In the order reports list causes whose shares are equal."""

NAMES = tuple(cause.name for cause in CAUSES)


def cause(name: str) -> Cause:
    """The cause of that name; KeyError if there is none."""
    return {c.name: c for c in CAUSES}[name]


@dataclass(frozen=True)
class Mix:
    """A program part of which is as in the reference. mended: causes; at: populations where they are, None for all.
    What is on a projection counts for its target."""

    mended: frozenset[str] = frozenset()
    at: frozenset[str] | None = None

    def mends(self, name: str, population: str) -> bool:
        """Whether the cause is mended at the population."""
        return name in self.mended and (self.at is None or population in self.at)


PROGRAM = Mix()
REFERENCE = Mix(frozenset(NAMES))


def mending(name: str, at: frozenset[str] | None = None) -> Mix:
    """The program with one cause mended."""
    return Mix(frozenset({name}), at)


def only(name: str) -> Mix:
    """The reference with one cause brought in."""
    return Mix(frozenset(NAMES) - {name})
