"""The simulator: a second implementation of docs/program.md, as fast as the machine allows."""

from ndeploy.sim.run import run

__all__ = ["run"]
