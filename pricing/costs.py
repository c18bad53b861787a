"""The cost book."""

from __future__ import annotations
from datetime import datetime


class CostBook:
    version: str
    revision: int
    effective_from: datetime
    document: str
    resources: frozenset[str]
    units: frozenset[str]

    @classmethod
    def from_document(cls, text: str) -> CostBook:
        raise NotImplementedError

    def known_model(self, model: str) -> bool:
        raise NotImplementedError
