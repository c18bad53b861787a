"""Revisions of the schema of a cell."""
