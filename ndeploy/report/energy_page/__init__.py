"""The energy report as one HTML page."""

from ndeploy.report.energy_page.render import page

__all__ = ["page"]
