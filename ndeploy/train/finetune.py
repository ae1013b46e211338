"""Fine-tuning: quantisation-aware training through the integer program's own rounding.

What is trained is what the program stores (mantissas, thresholds, biases), so what comes out is an integer program that
runs bit for bit as it did while it was trained. Epochs are judged by the simulator, and the best one is what counts.

The result depends on the program, the data and the options alone: one seed, torch's deterministic algorithms, one torch
thread, and batches that are always split into the same parts (ndeploy/train/parts.py), however many cores there are.
Other versions of torch, or other processors, may round gradients differently and end elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ndeploy.data import Data
from ndeploy.decode import encode, for_data, predict
from ndeploy.errors import UsageError
from ndeploy.evaluate import accuracies
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.target import Target
from ndeploy.train import journal
from ndeploy.train.executor import ProgramNet
from ndeploy.train.latent import FloatArray
from ndeploy.train.objective import Objective, objective, reference_decode
from ndeploy.train.parts import Parts, trained

MARGIN = 0.05
"""Latents start at least this far inside the rounding cell of the program's mantissas."""
RATE = 0.01
"""Default rate of spiking networks. Measured: a spiking transformer at 2 bits ends within a point of the same for 0.003
to 0.03; gradients of a recurrent network explode over 256 steps, it learns at 0.01 and diverges at 0.02 after ten
epochs. ndeploy/train/rate.py has that of machines that think in ticks."""


@dataclass(frozen=True)
class Tuning:
    """epochs: passes over the data. rate: of Adam at the start, falling to 0 along a cosine; 1 is a mantissa of few
    bits, an eighth of the range of a wide one, or a quarter of a threshold; None for what suits the kind of network.
    journal: file that keeps where it stands.

    bounded: mantissas move at most one from where they started, thresholds and biases a quarter of the threshold
    (adaptive rounding): for little data.
    """

    epochs: int
    seed: int = 0
    rate: float | None = None
    batch: int = 32
    journal: Path | None = None
    bounded: bool = False


@dataclass(frozen=True, order=True)
class Standing:
    """How good an integer program is on the training data; larger is better. sound: no state leaves its width that
    stayed inside at the start; kept: as many answers are right as at the start; gain: the loss, negative.

    The loss decides among epochs: accuracy on a few hundred samples is a coarse measure that luck decides. accuracy: of
    whole sequences where the answer is one, or agreement with the float network where there are no labels.
    """

    sound: bool
    kept: bool
    gain: float
    accuracy: float


def finetune(
    program: Program,
    data: Data,
    reference: FloatArray | None,
    tuning: Tuning,
    latents: Mapping[str, FloatArray] | None = None,
    progress: Callable[[str], None] = lambda text: None,
    *,
    target: Target | None = None,
    reference_read: str | None = None,
) -> Program:
    """The program with the mantissas, thresholds and biases of the best epoch; itself where none was better.

    reference: the float network's output on the data, (samples, steps, *shape), to imitate; reference_read: its decode
    (by default the program's, see `reference_decode`). latents: real-valued mantissas by projection, brought to within
    the rounding cell of the program's so that training starts with the program as it is. target: whose fields
    thresholds and biases must fit.
    Raises UsageError ND323 (options, latents), ND321 (nothing to learn from), ND501, ND502, ND503 (data), ND322 (the
    loss is not a number), ND710, ND702 (the journal), ND720 (norse is missing); RefusedError ND320 (a neuron kind that
    cannot be trained).
    """
    _check(tuning)
    tuning = replace(tuning, rate=rate_for(program, tuning))
    compiled, program = program, for_data(program, data.x)
    messages = encode(program, data.x, data.x_scale)
    first = _simulate(program, messages)
    decode = reference_read or reference_decode(program)
    aim = objective(program, data, reference, first[0], decode)
    wanted = _labels(program, data, reference, decode)
    given = {name: _inside(program, name, value) for name, value in (latents or {}).items()}
    net = ProgramNet(program, given, target)
    with _settled(tuning.seed):
        run = _Run(net, aim, messages, wanted, tuning, first)
        own = journal.key(program, data, _options(tuning, decode, target), _arrays(given, reference))
        kept = journal.read(tuning.journal, own)
        if kept is not None:
            run.restore(kept)
            progress(f"fine-tuning goes on after epoch {run.epoch} of {tuning.epochs}")
        while run.epoch < tuning.epochs:
            loss = run.train()
            now = run.judge()
            journal.write(tuning.journal, own, run.kept())
            progress(
                f"epoch {run.epoch} of {tuning.epochs}: loss {loss:.4f}, accuracy {100 * now.accuracy:.2f} %"
                f" (best {100 * run.best.accuracy:.2f} %)"
            )
        return _as_compiled(run.program(), compiled)


class _Run:
    """A run between two epochs."""

    def __init__(
        self,
        net: ProgramNet,
        aim: Objective,
        messages: Mapping[str, IntArray],
        wanted: IntArray | None,
        tuning: Tuning,
        first: tuple[IntArray, IntArray | None, frozenset[tuple[str, str]]],
    ) -> None:
        self.net, self.aim, self.messages, self.wanted, self.tuning = net, aim, messages, wanted, tuning
        self.epoch, self.rate = 0, rate_for(net.source, tuning)
        self.samples = len(next(iter(messages.values())))
        self.gain = torch.nn.Parameter(torch.zeros(()), requires_grad=aim.argmax)
        self.parameters = trained(net, self.gain)
        self.parts = Parts(net, self.gain, self._loss)
        self.optimiser = torch.optim.Adam(self.parameters, lr=self.rate)
        self.batches = -(-self.samples // tuning.batch)
        self.overflowing = first[2]
        self.start = net.source
        self.least = 0.0
        self.best = self._standing(first)
        self.least = self.best.accuracy
        self.best_values: list[npt.NDArray[Any]] | None = None

    def train(self) -> float:
        """One pass over the data; the mean loss."""
        order = np.random.default_rng((self.tuning.seed, self.epoch)).permutation(self.samples)
        total = 0.0
        everything = self.tuning.epochs * self.batches
        for i in range(self.batches):
            rows = order[i * self.tuning.batch : (i + 1) * self.tuning.batch]
            done = (self.epoch * self.batches + i) / everything
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate * 0.5 * (1 + math.cos(math.pi * done))
            loss, gradients = self.parts.gradients(rows)
            self._finite(loss, gradients)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = gradient
            self.optimiser.step()
            self.net.project(self.tuning.bounded)
            total += loss * len(rows)
        self.epoch += 1
        return total / self.samples

    def judge(self) -> Standing:
        """The integer program as it is now, through the simulator; the best so far is kept."""
        now = self._standing(_simulate(self.net.program(), self.messages))
        if now > self.best:
            self.best = now
            self.best_values = [np.asarray(latent.integer()) for _, latent in self.net.latents()]
        return now

    def program(self) -> Program:
        """The best epoch's program, or the one it started with."""
        if self.best_values is None:
            return self.start
        for (_, latent), value in zip(self.net.latents(), self.best_values, strict=True):
            latent.become(value)
        return self.net.program()

    def _standing(self, found: tuple[IntArray, IntArray | None, frozenset[tuple[str, str]]]) -> Standing:
        output, predictions, overflowing = found
        port = self.net.source.outputs[0]
        accuracy, sequences = accuracies(predictions, self.wanted, port.decode)
        with torch.no_grad():
            rows = torch.arange(self.samples)
            loss = float(self.aim.loss(torch.from_numpy(output), rows, self.gain.exp()))
        right = (sequences if sequences is not None else accuracy) or 0.0
        sound = overflowing <= self.overflowing
        return Standing(sound, right >= self.least, -loss if math.isfinite(loss) else -math.inf, right)

    def _loss(self, net: ProgramNet, gain: torch.Tensor, rows: IntArray) -> torch.Tensor:
        name = self.net.source.outputs[0].population
        output = net({key: value[rows] for key, value in self.messages.items()})[name]
        return self.aim.loss(output, torch.from_numpy(rows), gain.exp())

    def _finite(self, loss: float, gradients: Sequence[torch.Tensor]) -> None:
        if not math.isfinite(loss) or not all(bool(g.isfinite().all()) for g in gradients):
            raise UsageError(
                "ND322",
                f"epoch {self.epoch + 1}: the loss is {loss:g}, or its gradients are not finite",
                help=f"give a lower --rate than {self.rate:g}, or the program without fine-tuning",
            )

    def kept(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that the rest of the run depends on."""
        best = self.best
        found: dict[str, npt.NDArray[Any]] = {
            "epoch": np.array(self.epoch),
            "best": np.array([float(best.sound), float(best.kept), best.gain, best.accuracy]),
            "torch_rng": torch.get_rng_state().numpy(),
        }
        for i, parameter in enumerate(self.parameters):
            found[f"free/{i}"] = parameter.detach().numpy()
            for name, value in self.optimiser.state[parameter].items():
                found[f"{name}/{i}"] = value.numpy()
        for i, value in enumerate(self.best_values or []):
            found[f"chosen/{i}"] = value
        return found

    def restore(self, kept: Mapping[str, npt.NDArray[Any]]) -> None:
        """Where `kept` left off."""
        self.epoch = int(kept["epoch"])
        sound, right, gain, accuracy = kept["best"].tolist()
        self.best = Standing(bool(sound), bool(right), gain, accuracy)
        torch.set_rng_state(torch.from_numpy(kept["torch_rng"]))
        for i, parameter in enumerate(self.parameters):
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(kept[f"free/{i}"]))
            self.optimiser.state[parameter] = {
                name: torch.from_numpy(kept[f"{name}/{i}"].copy()) for name in ("step", "exp_avg", "exp_avg_sq")
            }
        if "chosen/0" in kept:
            self.best_values = [kept[f"chosen/{i}"] for i, _ in enumerate(self.net.latents())]


def rate_for(program: Program, tuning: Tuning) -> float:
    """The rate that is asked for, or the default for the program's kind."""
    if tuning.rate is not None:
        return tuning.rate
    from ndeploy.train.rate import default_rate

    return default_rate(program)


def _check(tuning: Tuning) -> None:
    faults = {
        f"{tuning.epochs} epochs": tuning.epochs < 1,
        f"a batch of {tuning.batch}": tuning.batch < 1,
        f"a rate of {tuning.rate}": tuning.rate is not None and not (math.isfinite(tuning.rate) and tuning.rate > 0),
        f"seed {tuning.seed}": tuning.seed < 0,
    }
    for what, wrong in faults.items():
        if wrong:
            raise UsageError(
                "ND323",
                f"fine-tuning with {what}",
                help="give at least one epoch, samples in a batch, a positive rate and a seed that is not negative",
            )


def _simulate(
    program: Program, messages: Mapping[str, IntArray]
) -> tuple[IntArray, IntArray | None, frozenset[tuple[str, str]]]:
    """(the first output, predictions, what overflowed by population and event) of the integer program."""
    from ndeploy.sim import run

    result = run(program, messages, counts=False, threads=None)
    # graded messages saturate by design
    events = {
        (name, event)
        for name, found in result.overflow.items()
        for event, n in found.items()
        if n and event != "payload-saturated"
    }
    return result.outputs[program.outputs[0].population], result.predictions, frozenset(events)


def _labels(program: Program, data: Data, reference: FloatArray | None, decode: str) -> IntArray | None:
    """What answers are compared with: labels, or what the float network answers."""
    if data.y is not None or reference is None:
        return data.y
    return predict(reference, decode, program.outputs[0].answer, 1.0)


def _inside(program: Program, name: str, value: FloatArray) -> FloatArray:
    """Latents brought into the rounding cells of the program's mantissas."""
    found = [j for j in program.projections if j.name == name]
    value = np.asarray(value, dtype=np.float64)
    if not found or found[0].synapses.weight.shape != value.shape:
        return value
    mantissas = found[0].synapses.weight.astype(np.float64)
    return np.clip(value, mantissas - 0.5 + MARGIN, mantissas + 0.5 - MARGIN)


def _options(tuning: Tuning, decode: str, target: Target | None) -> dict[str, Any]:
    return {
        "epochs": tuning.epochs,
        "seed": tuning.seed,
        "rate": tuning.rate,
        "batch": tuning.batch,
        "bounded": tuning.bounded,
        "decode": decode,
        "target": None if target is None else target.name,
        "torch": torch.__version__,
    }


def _arrays(latents: Mapping[str, FloatArray], reference: FloatArray | None) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {f"latent/{name}": value for name, value in latents.items()}
    if reference is not None:
        found["reference"] = reference
    return found


def _as_compiled(found: Program, compiled: Program) -> Program:
    """With the number of steps the program was compiled for, whatever the training sequences had."""
    return found if found.steps == compiled.steps else replace(found, steps=compiled.steps)


@contextmanager
def _settled(seed: int) -> Iterator[None]:
    """Threads, seed and algorithms that do not depend on the machine or on what ran before."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.set_rng_state(state)
