"""What calibration data cannot tell: data that are made up, all alike, or not what the family takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.network import Input, Network

LOOKS = {"signs": "each -1 or +1", "normal": "of mean 0 and variance 1"}
"""`network.Input.typical` in words."""
TOLERANCE = 1e-6
"""Of -1 and +1, where data are scaled."""


def remarks(network: Network, stated: Data | None, used: Data) -> tuple[Diagnostic, ...]:
    """What to tell about the data that ranges of graded messages were read off.

    stated: what the user gave; used: that, or what was made up. Raises UsageError ND305 where every value is 0, ND502
    where the input takes -1 and +1 only and the data hold something else.
    """
    kinds = list(dict.fromkeys(node.typical for node in network.nodes.values() if isinstance(node, Input)))
    if stated is None:
        looks = " or ".join(LOOKS.get(kind, kind) for kind in kinds)
        return (
            Diagnostic(
                "ND305",
                f"no --calibration: ranges were read off {len(used)} samples made up as this family's look ({looks})",
                "give --calibration DATA.npz with samples like those it will see",
            ),
        )
    if not used.x.any():
        raise UsageError(
            "ND305",
            f"every value of the {len(used)} calibration samples is 0: they show no range",
            help="give samples like those the network will see",
        )
    if kinds == ["signs"]:
        only_signs("calibration", used.x, used.x_scale)
    if len(used) > 1 and (used.x == used.x[:1]).all():
        return (
            Diagnostic(
                "ND305",
                f"all {len(used)} calibration samples are the same: ranges are those of one sample, others are clipped",
                "give samples as different as those the network will see",
            ),
        )
    return ()


def only_signs(where: str, x: npt.NDArray[Any], scale: float) -> None:
    """Raises UsageError ND502 where x * scale holds anything but -1 and +1."""
    other = x[np.abs(np.abs(x * scale) - 1) > TOLERANCE]
    if other.size:
        raise UsageError(
            "ND502",
            f"{where}: x holds {float(other.flat[0]) * scale:g} ({other.size} of {x.size} values); this network was "
            "trained on -1 and +1 and takes nothing else",
            help="write sequences of 0 and 1 as -1 and +1: 2 * x - 1",
        )
