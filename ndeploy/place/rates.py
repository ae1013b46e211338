"""What neurons send, checked against the program, in one step: for objectives that weigh messages."""

from __future__ import annotations

from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity


def checked(program: Program, rates: Activity | None, decisive: bool) -> Activity:
    """The rates, all model steps as one; as if every neuron sent equally often where there are none.

    decisive: whether the placement is chosen by them, and not only where its cores lie. Raises UsageError ND430 where
    they are of another program, ND434 where they are decisive and no neuron sends anything.
    """
    from ndeploy.place.traffic import even_activity, in_one_step

    if rates is None:
        return even_activity(program)

    sizes = {p.name: p.size for p in program.populations}
    given = {name: values.shape[-1] for name, values in rates.messages.items()}
    if sizes != given:
        odd = sorted(name for name in sizes.keys() | given.keys() if sizes.get(name) != given.get(name))
        raise UsageError(
            "ND430",
            f"rates of populations {', '.join(map(repr, odd[:3]))} are not those of '{program.name}'",
            help="measure the activity on the very program that is placed",
        )
    if not any(values.any() for values in rates.messages.values()):
        if not decisive:
            return even_activity(program)
        raise UsageError(
            "ND434",
            f"no neuron of '{program.name}' sends anything in {rates.samples} samples: all rates are zero",
            help="measure on data that the network was trained for, or place for cores",
        )
    return in_one_step(rates)
