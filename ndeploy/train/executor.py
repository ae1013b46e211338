"""A differentiable executor of integer programs.

Values are the simulator's bit for bit: whole numbers in float32 where bounds prove them below 2^24, else in float64.
Time is counted in model steps; chip steps and delays only say how many model steps later a message is used. What does
not change from step to step is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ndeploy.errors import UsageError
from ndeploy.ir.program import Population, Program, lag
from ndeploy.neurons import Input
from ndeploy.sim.schedule import Component, schedule
from ndeploy.target import Target
from ndeploy.train.bounds import message_top, product_bounds
from ndeploy.train.latent import FloatArray, Latent
from ndeploy.train.neuron import TrainableNeuron, trainable
from ndeploy.train.straight import EXACT32
from ndeploy.train.synaptic import Passage, ProductPassage, passages, weight_range

Messages = Mapping[str, npt.NDArray[Any] | Tensor]


@dataclass(frozen=True, eq=False)
class _Sent:
    """What a population sends: messages (samples, steps, *shape), 1 step where all are the same; latched: as products
    see it, the last message where the population stands still."""

    messages: Tensor
    latched: Tensor


class ProgramNet(torch.nn.Module):
    """The program as a network with trainable mantissas, thresholds and biases.

    latents: real-valued mantissas by projection, laid out as projection.synapses.weight (the mantissas themselves where
    not given); unit projections are not trained. target: whose fields trained parameters must fit.
    Raises RefusedError ND320 (a neuron kind that cannot be trained), UsageError ND323 (latents of a wrong shape, not
    finite, or for a projection that is not there), ND720 (norse is missing).
    """

    def __init__(
        self, program: Program, latents: Mapping[str, FloatArray] | None = None, target: Target | None = None
    ) -> None:
        super().__init__()
        self.source = program
        self.populations = {p.name: p for p in program.populations}
        self.planned = schedule(program)
        self._latents = dict(latents or {})
        self._check_latents()
        made = [(j.name, self._weight(j.name)) for j in program.projections if not j.unit]
        self.weight_names = [name for name, _ in made]
        self.weights = torch.nn.ModuleList(latent for _, latent in made)
        self._constant = {
            j.name: torch.from_numpy(j.synapses.weight.astype(np.float32)) for j in program.projections if j.unit
        }
        self._passages: dict[tuple[str, str], list[Passage]] = {}
        self._products: dict[tuple[str, str], list[ProductPassage]] = {}
        self._bounds: dict[tuple[str, str], int] = {}
        self._dtypes: dict[tuple[str, str], torch.dtype] = {}
        self._tops: dict[str, int | None] = {}
        for component in self.planned.components:
            self._bound(component)
        self.neuron_names = [p.name for p in program.populations if not isinstance(p.neuron, Input)]
        self.neurons = torch.nn.ModuleList(
            trainable(
                self.populations[name].neuron,
                self.populations[name].shape,
                {port: b for (owner, port), b in self._bounds.items() if owner == name},
                target,
            )
            for name in self.neuron_names
        )
        self._neuron: dict[str, TrainableNeuron] = dict(zip(self.neuron_names, self.neurons, strict=True))  # type: ignore[arg-type]

    # -- building --------------------------------------------------------------------------------------------------

    def _check_latents(self) -> None:
        trained = {j.name: j.synapses.weight.shape for j in self.source.projections if not j.unit}
        for name, value in self._latents.items():
            shape = np.asarray(value).shape
            if name not in trained or shape != trained[name] or not np.isfinite(value).all():
                wanted = trained.get(name, "no trained weights")
                raise UsageError(
                    "ND323",
                    f"latents of projection '{name}' have shape {shape} or are not finite; it has {wanted}",
                    help="give finite real mantissas in the layout of projection.synapses.weight",
                )

    def _weight(self, name: str) -> Latent:
        projection = next(j for j in self.source.projections if j.name == name)
        low, high = weight_range(projection)
        start = self._latents.get(name, projection.synapses.weight)
        # a rate of 1 moves a mantissa by an eighth of its width, or by one
        unit = max(1.0, (high - low) / 8)
        return Latent(np.asarray(start, dtype=np.float64), low, high, unit=unit, reach=1.0, compact=False)

    def _bound(self, component: Component) -> None:
        """Passages into the members of a component, with their bounds; members that clip are bounded first."""
        names = component.populations
        for name in names:
            self._tops[name] = message_top(self.populations[name], {})
        for name in names:
            population = self.populations[name]
            for port in population.neuron.ports:
                self._bound_port(population, port)
            if self._tops[name] is None:
                ports = {port: b for (owner, port), b in self._bounds.items() if owner == name}
                # what depends on its own past may grow from step to step
                self._tops[name] = None if component.recurrent else message_top(population, ports)

    def _bound_port(self, population: Population, port: str) -> None:
        key, program = (population.name, port), self.source
        found: list[Passage] = []
        for link in self.planned.links.get(key, ()):
            j = link.projection
            if any(passage.projection is j for passage in found):
                continue
            extras = [0] if j.delays is None else [int(x) for x in np.unique(j.delays)]
            lags = {extra: lag(program, j.source, j.target, j.delay + extra) for extra in extras}
            found += passages(j, lags, self._tops[j.source])
        products = []
        for planned in self.planned.products.get(key, ()):
            p = planned.product
            sums, bound = product_bounds(p, self._tops[p.left], self._tops[p.right])
            dtype = torch.float32 if sums is not None and sums < EXACT32 else torch.float64
            products.append(ProductPassage(p, planned.lag, bound, dtype))
        self._passages[key], self._products[key] = found, products
        parts = [x.bound for x in found] + [x.bound for x in products]
        known = [b for b in parts if b is not None]
        if len(known) == len(parts):
            self._bounds[key] = sum(known)
        self._dtypes[key] = torch.float32 if self._bounds.get(key, EXACT32) < EXACT32 else torch.float64

    # -- running ---------------------------------------------------------------------------------------------------

    def forward(self, messages: Messages) -> dict[str, Tensor]:
        """Outputs by population, (samples, steps, *shape), for integer messages by input population of that layout.

        Raises UsageError ND502 where messages do not match the inputs.
        """
        samples = self._samples(messages)
        weights = dict(self._constant)
        for name, latent in zip(self.weight_names, self.weights, strict=True):
            weights[name] = latent.value(torch.float32)  # type: ignore[operator]
        sent: dict[str, _Sent] = {}
        states: dict[str, dict[str, Tensor]] = {}
        keep: dict[str, list[str]] = {}
        for port in self.source.outputs:
            if port.variable != "message":
                keep.setdefault(port.population, []).append(port.variable)
        for component in self.planned.components:
            if component.recurrent:
                self._recurrent(component, samples, weights, sent, keep, states)
                continue
            for name in component.populations:
                population = self.populations[name]
                if isinstance(population.neuron, Input):
                    sent[name] = self._injected(population, messages[name])
                    continue
                inputs = {
                    port: self._arriving((name, port), samples, weights, sent) for port in population.neuron.ports
                }
                sent[name], states[name] = self._run(population, inputs, tuple(keep.get(name, ())))
        found: dict[str, Tensor] = {}
        for port in self.source.outputs:
            name = port.population
            value = sent[name].messages if port.variable == "message" else states[name][port.variable]
            found[name] = self._every(value)
        return found

    def _samples(self, messages: Messages) -> int:
        found: set[int] = set()
        for port in self.source.inputs:
            population = self.populations[port.population]
            given = messages.get(port.population)
            want = (self.source.steps, *population.shape)
            if given is None or tuple(given.shape[1:]) != want:
                raise UsageError(
                    "ND502",
                    f"input '{population.name}': a sample has shape "
                    f"{None if given is None else tuple(given.shape[1:])}, the program takes {want}",
                    help="encode the data with ndeploy.decode.encode",
                )
            found.add(int(given.shape[0]))
        if len(found) != 1 or found == {0}:
            raise UsageError("ND502", f"inputs hold {sorted(found)} samples", help="give every input the same samples")
        return found.pop()

    def _injected(self, population: Population, given: npt.NDArray[Any] | Tensor) -> _Sent:
        value = given if isinstance(given, Tensor) else torch.from_numpy(np.ascontiguousarray(given))
        low, high = population.neuron.message.low, population.neuron.message.high
        if int(value.min()) < low or int(value.max()) > high:
            raise UsageError(
                "ND502",
                f"input '{population.name}': messages {int(value.min())} to {int(value.max())}, the payload holds "
                f"{low} to {high}",
                help="encode the data with ndeploy.decode.encode, which clips",
            )
        value = value.to(torch.float32 if max(high, -low) < EXACT32 else torch.float64)
        if value.shape[1] > 1 and bool((value == value[:, :1]).all()):
            value = value[:, :1]
        return self._standing(population, value)

    def _standing(self, population: Population, value: Tensor) -> _Sent:
        """Messages of a population that may stop after some updates; `value` holds at least those, or one for all."""
        updates, steps = population.updates, self.source.steps
        if updates is None or updates >= steps:
            return _Sent(value, value)
        if value.shape[1] > 1:
            value = value[:, :updates]
        last = value[:, -1:]
        if value.shape[1] == 1:
            value = value.expand(-1, updates, *value.shape[2:])
        silent = torch.zeros_like(last).expand(-1, steps - updates, *last.shape[2:])
        latched = last if updates == 1 else torch.cat([value, last.expand_as(silent)], 1)
        return _Sent(torch.cat([value, silent], 1), latched)

    def _every(self, value: Tensor) -> Tensor:
        """With its axis of steps in full."""
        steps = self.source.steps
        return value if value.shape[1] == steps else value.expand(-1, steps, *value.shape[2:])

    def _later(self, value: Tensor, behind: int) -> Tensor:
        """Used that many model steps after it was sent."""
        if behind == 0:
            return value
        value, steps = self._every(value), self.source.steps
        first = torch.zeros_like(value[:, : min(behind, steps)])
        return torch.cat([first, value[:, : max(0, steps - behind)]], 1)

    def _passed(self, passage: Passage, messages: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """(samples, steps or 1, n_out)."""
        samples, steps = messages.shape[:2]
        return passage(messages.flatten(0, 1), weights[passage.projection.name]).view(samples, steps, -1)

    def _multiplied(self, passage: ProductPassage, left: Tensor, right: Tensor) -> Tensor:
        """(samples, steps or 1, n_out)."""
        if left.shape[1] != right.shape[1]:
            left, right = self._every(left), self._every(right)
        samples, steps = left.shape[:2]
        return passage(left.flatten(0, 1), right.flatten(0, 1)).view(samples, steps, -1)

    def _arriving(
        self,
        key: tuple[str, str],
        samples: int,
        weights: Mapping[str, Tensor],
        sent: Mapping[str, _Sent],
        without: Sequence[str] = (),
    ) -> Tensor:
        """The summed input of a port from populations other than `without`, (samples, steps or 1, *shape)."""
        dtype, shape = self._dtypes[key], self.populations[key[0]].shape
        total: Tensor | None = None
        parts: list[Tensor] = []
        for passage in self._passages[key]:
            if passage.projection.source not in without:
                value = self._passed(passage, sent[passage.projection.source].messages, weights)
                parts.append(self._later(value, passage.lag))
        for multiplied in self._products[key]:
            p = multiplied.product
            if p.left not in without and p.right not in without:
                value = self._multiplied(multiplied, sent[p.left].latched, sent[p.right].latched)
                parts.append(self._later(value, multiplied.lag))
        for part in parts:
            total = part.to(dtype) if total is None else total + part.to(dtype)
        if total is None:
            total = torch.zeros((samples, 1, int(np.prod(shape))), dtype=dtype)
        return total.view(*total.shape[:2], *shape)

    def _run(
        self, population: Population, inputs: Mapping[str, Tensor], keep: tuple[str, ...]
    ) -> tuple[_Sent, dict[str, Tensor]]:
        neuron, steps = self._neuron[population.name], self.source.steps
        updates = steps if population.updates is None else min(population.updates, steps)
        static = all(x.shape[1] == 1 for x in inputs.values())
        if not (static and neuron.stateless):
            inputs = {port: self._every(x)[:, :updates] for port, x in inputs.items()}
        messages, states = neuron.over_steps(inputs, keep)
        for name, value in states.items():
            if updates < steps:
                stands = value[:, -1:].expand(-1, steps - updates, *value.shape[2:])
                states[name] = torch.cat([value, stands], 1)
        return self._standing(population, messages), states

    def _recurrent(
        self,
        component: Component,
        samples: int,
        weights: Mapping[str, Tensor],
        sent: dict[str, _Sent],
        keep: Mapping[str, Sequence[str]],
        states: dict[str, dict[str, Tensor]],
    ) -> None:
        """Populations that depend on each other's past, step by step together."""
        steps, names = self.source.steps, component.populations
        last = {name: min(self.populations[name].updates or steps, steps) - 1 for name in names}
        outside = {
            (name, port): self._arriving((name, port), samples, weights, sent, names)
            for name in names
            for port in self.populations[name].neuron.ports
        }
        history: dict[str, list[Tensor]] = {name: [] for name in names}
        kept: dict[str, dict[str, list[Tensor]]] = {
            name: {variable: [] for variable in keep.get(name, ())} for name in names
        }
        state = {name: self._neuron[name].start(samples, self.populations[name].shape) for name in names}

        def operand(name: str, k: int) -> Tensor:
            if name in history:
                return history[name][min(k, last[name])]
            value = sent[name].latched
            return value[:, min(k, value.shape[1] - 1)]

        def arriving(name: str, port: str, k: int) -> Tensor:
            key, shape = (name, port), self.populations[name].shape
            base = outside[key]
            total = base[:, min(k, base.shape[1] - 1)]
            for passage in self._passages[key]:
                source, then = passage.projection.source, k - passage.lag
                if source in history and 0 <= then <= last[source]:
                    value = passage(history[source][then], weights[passage.projection.name])
                    total = total + value.view(-1, *shape).to(total.dtype)
            for multiplied in self._products[key]:
                p, then = multiplied.product, k - multiplied.lag
                if (p.left in history or p.right in history) and then >= 0:
                    value = multiplied(operand(p.left, then), operand(p.right, then))
                    total = total + value.view(-1, *shape).to(total.dtype)
            return total

        for k in range(steps):
            for name in names:
                if k <= last[name]:
                    ports = self.populations[name].neuron.ports
                    inputs = {port: arriving(name, port, k) for port in ports}
                    state[name], message = self._neuron[name](state[name], inputs, k)
                    history[name].append(message)
                for variable, values in kept[name].items():
                    values.append(state[name][variable])
        for name in names:
            sent[name] = self._standing(self.populations[name], torch.stack(history[name], 1))
            states[name] = {variable: torch.stack(values, 1) for variable, values in kept[name].items()}

    # -- what is trained -------------------------------------------------------------------------------------------

    def latents(self) -> Iterator[tuple[str, Latent]]:
        """Everything that is trained, by name: "weight/<projection>" and "<parameter>/<population>"."""
        for name, latent in zip(self.weight_names, self.weights, strict=True):
            yield f"weight/{name}", latent  # type: ignore[misc]
        for name, neuron in zip(self.neuron_names, self.neurons, strict=True):
            for parameter, module in neuron.named_children():
                if isinstance(module, Latent):
                    yield f"{parameter}/{name}", module

    def project(self, bounded: bool = False) -> None:
        """Bring everything trained back into its range; must follow every step of an optimiser."""
        for _, latent in self.latents():
            latent.project(bounded)

    def program(self) -> Program:
        """The same program with the trained mantissas, thresholds and biases."""
        latents = dict(self.latents())
        projections = tuple(
            j
            if j.unit
            else replace(j, synapses=replace(j.synapses, weight=latents[f"weight/{j.name}"].integer().astype(np.int16)))
            for j in self.source.projections
        )
        populations = tuple(
            p if isinstance(p.neuron, Input) else replace(p, neuron=self._neuron[p.name].integer())
            for p in self.source.populations
        )
        return replace(self.source, populations=populations, projections=projections)
