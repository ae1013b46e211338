"""Synapse layouts: how a projection's weights are stored and which source meets which target, one file each.

numpy only: the Lava worker imports these modules in an interpreter that may lack everything else.
"""

from ndeploy.synapses.base import Synapses
from ndeploy.synapses.conv import Conv
from ndeploy.synapses.dense import Dense
from ndeploy.synapses.sparse import Sparse

KINDS: dict[str, type[Synapses]] = {cls.kind: cls for cls in (Dense, Conv, Sparse)}

__all__ = ["KINDS", "Conv", "Dense", "Sparse", "Synapses"]
