"""What no neurocore does for a sample: the embedded processor's part and the host's."""

from __future__ import annotations

from ndeploy.check_graded import updates_of
from ndeploy.ir.program import Program
from ndeploy.place.placed import Operation
from ndeploy.realise import realise


def embedded_operations(program: Program) -> tuple[Operation, ...]:
    """Populations whose neurons the embedded processor mixes, and products that it computes."""
    populations = tuple(
        Operation(
            p.name,
            "embedded",
            f"{p.neuron.kind} of {p.size} sums, {updates_of(program, p)} times a sample: no neurocore mixes neurons",
            operations=p.neuron.operations(p.size) * updates_of(program, p),
        )
        for p in program.populations
        if p.neuron.embedded
    )
    products = tuple(
        Operation(
            product.name,
            "embedded",
            f"'{product.subscripts}' of '{product.left}' and '{product.right}' was compiled for the embedded processor",
            realise(product).multiplies * program.steps,
            realise(product).multiplies * program.steps,
        )
        for product in program.products
        if product.realisation == "embedded"
    )
    return populations + products


def host_operations(program: Program) -> tuple[Operation, ...]:
    """What the host does for every sample: encode inputs, read outputs, decode."""
    encode = [
        Operation(port.population, "host", f"rounds samples to messages (scale {port.scale:g}) and injects them")
        for port in program.inputs
    ]
    read = [
        Operation(
            port.population,
            "host",
            f"reads {'messages' if port.variable == 'message' else port.variable} each model step"
            + ("" if port.decode == "none" else f"; argmax of their {port.decode}"),
        )
        for port in program.outputs
    ]
    return (*encode, *read)
