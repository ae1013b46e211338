"""The HTML page of an energy report."""
