"""What must be there for Lava to drive a Loihi, and how it is told where the board is. Worker side.

lava-loihi adds modules to Lava's own packages. Their names, and how they are called, are read in published programs
(docs/loihi.md lists them); none of it has been run on a board by us.
"""

from __future__ import annotations

import importlib
import os
import sys

from ndeploy.errors import UnreachableError

NEEDED = (
    "lava.magma.core.model.c.model",
    "lava.magma.core.model.nc.model",
    "lava.magma.compiler.subcompilers.c.cproc_compiler",
    "lava.magma.compiler.subcompilers.nc.ncproc_compiler",
    "lava.proc.embedded_io.spike",
    "lava.utils.loihi2_state_probes",
)
"""Modules of lava-loihi without which nothing reaches a chip, or comes back from it."""
WHERE = (
    "lava-loihi is Intel's extension of Lava for members of its Neuromorphic Research Community "
    "(inrc_interest@intel.com); name the interpreter that has it with --lava-python. This runner is untested on "
    "hardware: docs/loihi.md"
)


def attach() -> None:
    """Import lava-loihi and tell it of the board, as published programs do: by environment variables.

    NXSDKHOST: a board's host on the network, as Lava's own `lava.utils.loihi.use_ethernet_host` sets it up; else SLURM,
    BOARD and PARTITION as they are (Lava 0.10.0's own `use_slurm_host` fails on the empty line that ends what `sinfo`
    prints). LOIHI_GEN: N3B3 where not given. Raises UnreachableError ND675, ND678.
    """
    try:
        for name in NEEDED:
            importlib.import_module(name)
        from lava.utils import loihi

        generation = loihi.ChipGeneration(os.environ.get("LOIHI_GEN", "N3B3"))
        os.environ["LOIHI_GEN"] = generation.value
        if host := os.environ.get("NXSDKHOST"):
            binary = os.environ.get("HOST_BINARY", "nxcore/bin/nx_driver_server")
            loihi.use_ethernet_host(host, binary, generation)
    except ImportError as error:
        raise UnreachableError("ND675", f"'{sys.executable}' has no lava-loihi: {error}", help=WHERE) from error
    except (ValueError, OSError) as error:
        raise UnreachableError(
            "ND678", f"Lava cannot reach a Loihi: {error}", help="see NXSDKHOST, SLURM, BOARD, PARTITION and LOIHI_GEN"
        ) from error
