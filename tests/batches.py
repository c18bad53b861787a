"""Batches for the store of what the books decide, as a cell gathers them."""

from __future__ import annotations

from ledger.books import Decision
from ledger.store.cells.write import Batch, Standing


def add(batch: Batch, before: Standing, decision: Decision) -> None:
    """Adds a decision to an open batch: one final image per row, by key."""
    entry, customer = decision.entry, decision.entry.customer
    batch.before.setdefault(customer, before)
    batch.wallets[customer] = decision.wallet
    batch.entries.append(entry)
    for lot in decision.lots:
        known = batch.lots.get((customer, lot.key))
        batch.lots[customer, lot.key] = (lot, known[1] if known else lot.key.sequence == entry.sequence)
    reservation = decision.reservation
    if reservation is not None:
        key = (customer, reservation.sequence)
        seen = batch.reservations.get(key)
        batch.reservations[key] = (reservation, seen[1] if seen else key[1] == entry.sequence)
    batch.states.update({(customer, name): state for name, state in decision.states.items()})
