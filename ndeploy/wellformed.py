"""Whether a Program from a file is one that an execution can be trusted with.

`check` raises ValueError with what is wrong. It checks types against the dataclasses' own annotations, numbers against
bounds that keep arithmetic in 64 bits, names against each other, and shapes against shapes. It does not ask whether
a chip could hold the program: that is the placer's question.
"""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ndeploy.ir.program import Population, Product, Program, Projection, lag
from ndeploy.neurons import Input
from ndeploy.realise import REALISATIONS
from ndeploy.synapses import Conv, Sparse
from ndeploy.wellformed_neurons import MAX_AXES, check_population

MAX_NEURONS = 1 << 28
"""Neurons of one population; a thousand times what a chip holds."""

MAX_TEXT = 1000
"""Characters of a name."""

DECODES = ("sum", "last", "max", "none", "most-certain", "ctc")
"""How an output may be read (ndeploy/decode.py)."""

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "steps": (1, 1 << 20),
    "period": (1, 1 << 20),
    "offset": (0, 1 << 30),
    "delay": (1, 1 << 20),
    "exponent": (-40, 40),
    "shift": (0, 40),
    "emit_shift": (0, 40),
    "emit_bits": (0, 32),
    "bits": (0, 32),
    "weight_bits": (1, 16),
    "groups": (1, 1 << 20),
    "stride": (1, 1 << 20),
    "dilation": (1, 1 << 20),
    "padding": (0, 1 << 20),
    "shape": (1, MAX_NEURONS),
    "in_shape": (1, MAX_NEURONS),
    "left_view": (1, MAX_NEURONS),
    "right_view": (1, MAX_NEURONS),
    "view": (1, MAX_NEURONS),
    "answer": (1, MAX_NEURONS),
    "inputs": (1, MAX_NEURONS),
    "outputs": (1, MAX_NEURONS),
}
"""Least and largest value of integer fields, by the field's name; every other integer stays below 2^40."""

_FREE = (-(1 << 40), 1 << 40)
_SUBSCRIPTS = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)")


def check(program: Program) -> None:
    """Raises ValueError for a program that is not well-formed."""
    _typed(program, type(program), "program")
    populations = {p.name: p for p in program.populations}
    if len(populations) != len(program.populations):
        raise ValueError("two populations share a name")
    passages = [x.name for x in program.projections] + [x.name for x in program.products]
    if len(set(passages)) != len(passages):
        raise ValueError("two projections or products share a name")
    if {x.name for x in program.products} & set(populations):
        raise ValueError("a product and a population share a name, and so would their counts")
    for population in program.populations:
        if population.size > MAX_NEURONS:
            raise ValueError(
                f"population '{population.name}' has {population.size} neurons, the limit is {MAX_NEURONS}"
            )
        check_population(population, program.steps)
    for projection in program.projections:
        _check_projection(program, populations, projection)
    for product in program.products:
        _check_product(program, populations, product)
    _check_ports(program, populations)


def _check_ports(program: Program, populations: Mapping[str, Population]) -> None:
    if not program.inputs or not program.outputs:
        raise ValueError("a program needs an input and an output")
    for port in program.inputs:
        if not isinstance(_named(populations, port.population).neuron, Input):
            raise ValueError(f"'{port.population}' is no input population")
        if not port.scale > 0:
            raise ValueError(f"input '{port.population}' has scale {port.scale}")
    served = [port.population for port in program.inputs]
    if len(set(served)) != len(served):
        raise ValueError("two inputs serve one population")
    for population in program.populations:
        if isinstance(population.neuron, Input) and population.name not in served:
            raise ValueError(f"no input serves '{population.name}'")
    for out in program.outputs:
        population = _named(populations, out.population)
        if out.variable not in ("message", *population.neuron.state):
            raise ValueError(f"'{out.population}' has no variable '{out.variable}'")
        if out.decode not in DECODES:
            raise ValueError(f"output '{out.population}': there is no decode '{out.decode[:80]}'")
        if out.answer and (len(out.answer) > MAX_AXES or math.prod(out.answer) != population.size):
            raise ValueError(
                f"output '{out.population}': answer {out.answer[:MAX_AXES]} does not hold its {population.size} neurons"
            )
        if not out.scale > 0:
            raise ValueError(f"output '{out.population}' has scale {out.scale}")


def _typed(value: Any, annotation: Any, where: str) -> None:
    """Raise ValueError unless `value` has the annotated type all the way down, integers in their bounds."""
    if annotation is Any:
        return
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        _typed_union(value, typing.get_args(annotation), where)
    elif origin is tuple:
        _typed_tuple(value, typing.get_args(annotation), where)
    elif origin is np.ndarray:
        _typed_array(value, annotation, where)
    elif annotation is float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{where} is not a finite number")
    elif annotation is int:
        low, high = _FREE if where.endswith(".neuron.offset") else _BOUNDS.get(_field(where), _FREE)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{where} is not an integer in {low}..{high}")
    elif annotation is str:
        if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_TEXT:
            raise ValueError(f"{where} is not a printable text of at most {MAX_TEXT} characters")
    elif not isinstance(value, origin or annotation):
        raise ValueError(f"{where} is not a {getattr(annotation, '__name__', annotation)}")
    elif is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        for field in fields(value):
            _typed(getattr(value, field.name), hints[field.name], f"{where}.{field.name}")


def _field(where: str) -> str:
    """The field's name of a path such as program.populations[3].shape[0]."""
    return where.rsplit(".", 1)[-1].split("[")[0]


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _typed_union(value: Any, options: tuple[Any, ...], where: str) -> None:
    problems = []
    for option in options:
        try:
            return _typed(value, option, where)
        except ValueError as error:
            problems.append(error)
    raise problems[0]


def _typed_tuple(value: Any, items: tuple[Any, ...], where: str) -> None:
    if not isinstance(value, tuple):
        raise ValueError(f"{where} is not a list")
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise ValueError(f"{where} has {len(value)} items instead of {len(items)}")
    for index, (item, annotation) in enumerate(zip(value, items, strict=True)):
        _typed(item, annotation, f"{where}[{index}]")


def _typed_array(value: Any, annotation: Any, where: str) -> None:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{where} is not an array")
    wanted = np.dtype(typing.get_args(typing.get_args(annotation)[1])[0])
    if value.dtype != wanted:
        raise ValueError(f"{where} holds {value.dtype} instead of {wanted}")
    if wanted.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{where} holds NaN or infinity")
    if wanted.kind == "i" and value.size and not _FREE[0] <= int(value.min()) <= int(value.max()) <= _FREE[1]:
        raise ValueError(f"{where} holds integers beyond 40 bits")


def _named(populations: Mapping[str, Population], name: str) -> Population:
    if name not in populations:
        raise ValueError(f"there is no population '{name}'")
    return populations[name]


def _check_projection(program: Program, populations: Mapping[str, Population], projection: Projection) -> None:
    name, synapses = projection.name, projection.synapses
    source, target = _named(populations, projection.source), _named(populations, projection.target)
    if projection.port not in target.neuron.ports:
        raise ValueError(f"projection '{name}': population '{target.name}' has no port '{projection.port}'")
    if isinstance(synapses, Conv):
        _check_conv(name, synapses)
    elif isinstance(synapses, Sparse):
        _check_sparse(name, synapses)
    elif synapses.weight.ndim != 2:
        raise ValueError(f"projection '{name}': its weight has {synapses.weight.ndim} axes")
    if (synapses.n_in, synapses.n_out) != (source.size, target.size):
        raise ValueError(
            f"projection '{name}' joins {synapses.n_in} to {synapses.n_out} neurons, "
            f"'{source.name}' has {source.size} and '{target.name}' {target.size}"
        )
    if projection.delays is not None:
        if projection.delays.shape != synapses.weight.shape:
            raise ValueError(f"projection '{name}': delays and weights differ in shape")
        if projection.delays.size and not 0 <= int(projection.delays.min()) <= int(projection.delays.max()) <= 1 << 20:
            raise ValueError(f"projection '{name}': a delay is negative or too long")
    if lag(program, source.name, target.name, projection.delay) < 0:
        raise ValueError(f"projection '{name}' has a negative lag: its target would wait for a later model step")


def _check_conv(name: str, synapses: Conv) -> None:
    if synapses.weight.ndim != 4 or synapses.weight.size == 0:
        raise ValueError(f"projection '{name}': a convolution's weight has four axes")
    c_out, per_group = synapses.weight.shape[:2]
    if per_group * synapses.groups != synapses.in_shape[0] or c_out % synapses.groups:
        raise ValueError(f"projection '{name}': channels and groups do not agree")
    if min(synapses.out_shape) < 1:
        raise ValueError(f"projection '{name}': its kernel is larger than its input")


def _check_sparse(name: str, synapses: Sparse) -> None:
    if not synapses.weight.ndim == synapses.target.ndim == synapses.source.ndim == 1:
        raise ValueError(f"projection '{name}': a synapse list has one axis")
    if not synapses.weight.size == synapses.target.size == synapses.source.size:
        raise ValueError(f"projection '{name}': its synapse lists differ in length")
    for index, size in ((synapses.target, synapses.outputs), (synapses.source, synapses.inputs)):
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < size:
            raise ValueError(f"projection '{name}': a synapse ends outside its population")
    if (np.diff(synapses.target * synapses.inputs + synapses.source) <= 0).any():
        raise ValueError(f"projection '{name}': its synapses are not sorted by target and source, each once")


def _check_product(program: Program, populations: Mapping[str, Population], product: Product) -> None:
    name = product.name
    left, right = _named(populations, product.left), _named(populations, product.right)
    target = _named(populations, product.target)
    if product.port not in target.neuron.ports:
        raise ValueError(f"product '{name}': population '{target.name}' has no port '{product.port}'")
    if (math.prod(product.left_view), math.prod(product.right_view)) != (left.size, right.size):
        raise ValueError(f"product '{name}': a view has not the size of its population")
    if max(len(product.left_view), len(product.right_view)) > MAX_AXES:
        raise ValueError(f"product '{name}': a view has more than {MAX_AXES} axes")
    match = _SUBSCRIPTS.fullmatch(product.subscripts)
    if not match or len(match[1]) != len(product.left_view) or len(match[2]) != len(product.right_view):
        raise ValueError(f"product '{name}': subscripts '{product.subscripts[:80]}' do not fit its views")
    if any(len(set(side)) != len(side) for side in match.groups()):
        raise ValueError(f"product '{name}': subscripts '{product.subscripts[:80]}' name an index twice on one side")
    sizes: dict[str, int] = {}
    for letter, size in (
        *zip(match[1], product.left_view, strict=True),
        *zip(match[2], product.right_view, strict=True),
    ):
        if sizes.setdefault(letter, size) != size:
            raise ValueError(f"product '{name}': index '{letter}' has two lengths")
    if not set(match[3]) <= set(sizes) or math.prod(sizes[letter] for letter in match[3]) != target.size:
        raise ValueError(f"product '{name}': its result has not the size of '{target.name}'")
    if product.realisation not in REALISATIONS:
        raise ValueError(f"product '{name}': there is no realisation '{product.realisation[:80]}'")
    if product.exponent < 0:
        raise ValueError(f"product '{name}': exponent {product.exponent} is negative; products are shifted right only")
    if product.realisation == "streamed" and product.stream not in sizes:
        raise ValueError(f"product '{name}' streams over '{product.stream}', which is no index of it")
    later = left.name if left.offset >= right.offset else right.name
    if lag(program, later, target.name, product.delay) < 0:
        raise ValueError(f"product '{name}' has a negative lag: its target would wait for a later model step")
