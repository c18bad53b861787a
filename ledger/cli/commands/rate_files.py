"""Files of prices on their way to a server: the cost book, cards and plans of a directory, or single ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.output.console import USAGE, fail
from ledger.cli.services import Ledger, call

COSTS_FILE: Final = "costs.yaml"
PLANS_FILE: Final = "plans.yaml"


class PricesFile(NamedTuple):
    """A file of prices, as it is."""

    path: Path
    text: str

    @property
    def is_costs(self) -> bool:
        """It is the cost book."""
        return self.path.name == COSTS_FILE

    @property
    def is_plans(self) -> bool:
        """It is the plans."""
        return self.path.name == PLANS_FILE

    @property
    def stated(self) -> pb.RateDocument:
        """As a server checks it."""
        return pb.RateDocument(name=str(self.path), text=self.text)

    def diff_request(self) -> pb.DiffRatesRequest:
        """What asks for its differences to what is published."""
        if self.is_costs:
            return pb.DiffRatesRequest(costs=self.text)
        if self.is_plans:
            return pb.DiffRatesRequest(plans=self.text)
        return pb.DiffRatesRequest(rate_card=self.text)

    def title(self, card: str) -> str:
        """What is in it, for people."""
        if self.is_plans:
            return "the plans"
        return f"card {card}" if card else "the cost book"

    async def publish(
        self, ledger: Ledger, *, force: bool
    ) -> pb.PublishRateCardResponse | pb.PublishCostsResponse | pb.PublishPlansResponse:
        """Publishes it. Raises CreditsError."""
        if self.is_costs:
            costs = pb.PublishCostsRequest(document=self.text)
            return await call(ledger.admin.PublishCosts, costs)
        if self.is_plans:
            plans = pb.PublishPlansRequest(document=self.text, force=force)
            return await call(ledger.admin.PublishPlans, plans)
        card = pb.PublishRateCardRequest(document=self.text, force=force)
        return await call(ledger.admin.PublishRateCard, card)


def read_files(files: Sequence[Path]) -> list[PricesFile]:
    """The files, the cost book first: cards are checked against it. Plans, which name cards, come last.

    The command ends where there are none, or one cannot be read.
    """
    paths = [path for file in files for path in (_files_of(file) if file.is_dir() else [file])]
    if not paths:
        what = f"holds no {COSTS_FILE}, no cards/*.yaml and no {PLANS_FILE}"
        fail(f"{', '.join(map(str, files))}: {what}", USAGE)
    documents = []
    for path in paths:
        try:
            documents.append(PricesFile(path, path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{path}: cannot be read: {error}", USAGE)
    return sorted(documents, key=lambda document: (document.is_plans, not document.is_costs))


def _files_of(directory: Path) -> list[Path]:
    cards = [path for path in sorted((directory / "cards").glob("*.yaml")) if not path.name.startswith(".")]
    return [path for path in (directory / COSTS_FILE, *cards, directory / PLANS_FILE) if path.exists()]
