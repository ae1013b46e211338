"""What a sample costs: exact event counts (ledger), prices (tables), and their product (estimate)."""

from ndeploy.energy.coarse import EnergyReport, estimate
from ndeploy.energy.ranges import Range

__all__ = ["EnergyReport", "Range", "estimate"]
