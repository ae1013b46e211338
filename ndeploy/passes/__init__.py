"""Passes from a Network to a lowered network to a Program: pure functions, one a file, ordered in `pipeline`."""
