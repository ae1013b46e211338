"""`ndeploy compare --html`: one self-contained page."""

from ndeploy.report.compare_page.page import page

__all__ = ["page"]
