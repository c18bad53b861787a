"""Revisions of the schema that all cells share."""
