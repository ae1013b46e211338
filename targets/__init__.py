"""Chips: one file each, data only, with a source for every number. See docs/targets.md."""
