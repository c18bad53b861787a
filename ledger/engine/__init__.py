"""Decides commands in memory on arrival, and commits them in groups."""
