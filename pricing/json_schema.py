"""JSON Schema of what is written in YAML, for editors: generated from the models that read it.

A schema takes no less than its model does. What the model alone knows, such as a rule that can never match or
two rates of one quantity, is reported when the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pricing.cards.card_document import CardDoc
from pricing.costs.cost_book import CostsDoc

DOCUMENTS: Mapping[str, type[BaseModel]] = {"card": CardDoc, "costs": CostsDoc}
"""The documents of a directory of prices, by the name of their schema."""

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""Editors know this one best."""


class _Generator(GenerateJsonSchema):
    """No null, which nobody writes; no defaults, which models state in units of their own; names of keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        keys, values = (self.generate_inner(schema[part]) for part in ("keys_schema", "values_schema"))
        more = {"minProperties": schema["min_length"]} if "min_length" in schema else {}
        return {"type": "object", "propertyNames": keys, "additionalProperties": values, **more}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - all are named by their keys
        return False


def schema_text(model: type[BaseModel]) -> str:
    """The schema of a document, as JSON."""
    schema = model.model_json_schema(mode="validation", schema_generator=_Generator)
    return json.dumps({"$schema": _DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"
