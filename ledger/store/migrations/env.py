"""Alembic's entry: runs the revisions of one schema, on its caller's connection and transaction."""

from __future__ import annotations

from alembic import context

_attributes = context.config.attributes

context.configure(
    connection=_attributes["connection"],
    version_table_schema=_attributes["schema"],
    on_version_apply=_attributes["on_version_apply"],
)
context.run_migrations()
