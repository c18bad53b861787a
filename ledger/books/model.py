"""What the books are made of: lots, reservations, wallets, entries.

A customer is one aggregate: its wallet, lots and reservations change only together with an entry, and
entries are numbered without gaps. Everything here is a frozen value, a named tuple because those are the
cheapest to make; the rules that make one from another stand in the modules beside this one.

Credits are integer micro-credits (`_micros`), money is integer nano-dollars (`_nanousd`), instants are
timezone-aware UTC datetimes. Exact amounts that are not rounded yet are of the same units: a `Ratio` where
every charge has one, else a `Fraction`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from ledger.books.top_up_rules import TopUpRules

ZERO = Fraction(0)

Ratio: TypeAlias = tuple[int, int]
"""An exact amount as numerator and denominator (above 0): cheaper than a fraction, for it is reduced only
where it is stored. Those that are said to be reduced may be compared by `==`."""

NO_AMOUNT: Ratio = (0, 1)
"""An exact amount of nothing, reduced."""

INTERNAL_LABEL = "internal."
"""Labels that begin so are stored, and leave by no public door: neither returned nor filtered by."""

NOTHING: Mapping[str, str] = MappingProxyType({})
"""No labels, no details."""

UNSCALED = 1_000_000_000
"""A multiplier of 1, in billionths."""


class Credits(NamedTuple):
    """Postings to (or balances of) the credit accounts of one customer, in micro-credits."""

    issued: int = 0
    pending: int = 0
    available: int = 0
    held: int = 0
    consumed: int = 0
    expired: int = 0
    voided: int = 0
    refunded: int = 0
    debt: int = 0


class Dollars(NamedTuple):
    """Postings to the dollar accounts of one customer, in nano-dollars.

    Liabilities and income are positive, assets and expenses negative.
    """

    receivable: int = 0
    unbilled: int = 0
    refund_payable: int = 0
    deferred: int = 0
    revenue: int = 0
    breakage: int = 0
    write_off: int = 0
    cost: int = 0
    provider_payable: int = 0


class GrantKind(StrEnum):
    PAID = "PAID"
    PROMO = "PROMO"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADJUSTMENT = "ADJUSTMENT"


class LotStatus(StrEnum):
    PENDING_PAYMENT = "PENDING_PAYMENT"
    """Stated, and not issued: it has no credits until its payment is confirmed."""
    PENDING_START = "PENDING_START"
    ACTIVE = "ACTIVE"
    DEPLETED = "DEPLETED"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"
    DISPUTED = "DISPUTED"
    """Its payment is disputed: until that is decided what nobody holds is pending, for no clock."""


class LotKey(NamedTuple):
    """The entry that made the lot, and the lot's number in it (from 0)."""

    sequence: int
    n: int


class Lot(NamedTuple):
    """Credits of one grant: valid in [effective_at, expires_at).

    `remaining_micros` counts what is neither consumed nor expired, held credits included; `held_micros`
    is the part of it that open reservations have pinned. A draw of d takes value x d / remaining,
    rounded down; the last draw takes all.
    """

    key: LotKey
    kind: GrantKind
    amount_micros: int
    remaining_micros: int
    held_micros: int
    value_nanousd: int
    priority: int
    scope: str | None
    """A kind of usage (tokens, compute, units, outcome), `pool:<name>`, or None for any usage."""
    effective_at: datetime
    expires_at: datetime | None
    status: LotStatus


class GrantRecord(NamedTuple):
    """What is known of a lot beside what is left of it, or what an entry adds to that: no draw changes it."""

    paid_nanousd: int | None = None
    """The total paid for it, or stated before it is paid. None: no more is known of that than before."""
    external_reference: str | None = None
    """The caller's own, an invoice's number say; shown to the customer."""
    note: str | None = None
    """For the back office alone."""
    ended_micros: int = 0
    """What expired of it, was voided, or was refunded in money."""
    refunded_micros: int = 0
    """What of that was refunded."""
    taken_off_nanousd: int = 0
    """What of the total paid was credited with what was voided, was paid back, or was written off."""
    rolled_over_micros: int = 0
    """What of it was moved to another lot at a renewal."""
    recurring: str | None = None
    """The recurring grant of a plan that it is of, by the plan's name for it."""

    def plus(self, more: GrantRecord) -> GrantRecord:
        """What is known with what an entry adds to it."""
        return GrantRecord(
            self.paid_nanousd if more.paid_nanousd is None else more.paid_nanousd,
            self.external_reference or more.external_reference,
            self.note or more.note,
            self.ended_micros + more.ended_micros,
            self.refunded_micros + more.refunded_micros,
            self.taken_off_nanousd + more.taken_off_nanousd,
            self.rolled_over_micros + more.rolled_over_micros,
            self.recurring or more.recurring,
        )


NO_RECORD = GrantRecord()
NO_RECORDS: Mapping[LotKey, GrantRecord] = MappingProxyType({})


class Pin(NamedTuple):
    """Credits of one lot that a reservation holds."""

    lot: LotKey
    micros: int


class ReservationState(StrEnum):
    OPEN = "OPEN"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    """Its hold went back by the clock; commits are still taken, as late ones."""
    REVERSED = "REVERSED"


class Terms(NamedTuple):
    """What a customer's prices rest on; a reservation pins them for its life."""

    card: str
    card_version: int
    """Number of the card's version. Never its hash: who knows an older document could guess what changed."""
    cost_version: int
    """Number of the cost book's version."""
    credit_price_nanousd: int
    """List price of one credit (1,000,000 micros)."""
    multiplier_nanos: int = UNSCALED
    """What the customer has negotiated: prices are multiplied by it, in billionths."""


class State(NamedTuple):
    """What prices remember under one key of the customer's: a run, a counter of a period, a mark.

    The text is pricing's, or the count of a budget's counter, whose window ends at `closes_at`. What the
    books know of a state is the surplus that is due when it closes, and what the lines that count in it have
    booked (secret, as revenue is).
    """

    text: str
    closes_at: datetime | None = None
    """When the surplus goes back to the customer, or is charged; None: never, or it was."""
    surplus_micros: int = 0
    """What was charged beyond what the usage amounts to, towards 0; below 0: what it amounts to beyond that.

    Where the period has closed: what could not go back, for refunds had left no more of it."""
    collected_micros: int = 0
    uncollected_micros: int = 0
    revenue_nanousd: int = 0
    terms: Terms | None = None
    """What its newest line rested on."""


STATELESS: Mapping[str, State] = MappingProxyType({})


class Effect(NamedTuple):
    """What a line added to a state: pricing's own text, by which a reversal takes it away again."""

    key: str
    text: str
    weight: int = 1
    """How much of the line's price was charged for it, beside the line's other effects."""


class ReservationCosts(NamedTuple):
    """What a reservation's parts have cost so far (secret: stored in a table of its own).

    Exact amounts are nano-dollars not rounded yet, reduced; the posted and absorbed ones are sums of entries.
    """

    cost_exact: Ratio = NO_AMOUNT
    included_exact: Ratio = NO_AMOUNT
    """The part of it on rules that charge nothing themselves."""
    unpriced_exact: Ratio = NO_AMOUNT
    """The part of it on items that could not be priced, beyond what these were charged."""
    posted_nanousd: int = 0
    absorbed_failed_outcome_nanousd: int = 0
    absorbed_uncollected_nanousd: int = 0
    absorbed_unpriced_nanousd: int = 0
    saved_exact: Ratio = NO_AMOUNT
    own_key_exact: Ratio = NO_AMOUNT
    """Memos, as `PricedLine` names them."""


NO_COSTS = ReservationCosts()

POOL_SCOPE = "pool:"
"""What the scope of a pool's lots begins with; its name follows."""


class Tally(NamedTuple):
    """What usage amounts to exactly under one card (or from one pool), and what was billed of it.

    Both less the same multiple of two quanta: their difference is what rounding has left over (negative: has
    charged ahead), and half-even rounding asks whether what was billed is an even number of quanta.
    """

    exact: Ratio = NO_AMOUNT
    """Micro-credits, reduced."""
    billed_micros: int = 0

    @property
    def exact_micros(self) -> Fraction:
        return Fraction(*self.exact)


NO_TALLY = Tally()
NO_TALLIES: Mapping[str, Tally] = MappingProxyType({})
NO_REMAINDERS: Mapping[str, Ratio] = MappingProxyType({})


class Reservation(NamedTuple):
    """A hold on credits, and what its parts have charged so far."""

    sequence: int
    state: ReservationState
    terms: Terms
    created_at: datetime
    expires_at: datetime
    pins: tuple[Pin, ...]
    """In burn order; their sum is what is held."""
    labels: Mapping[str, str]
    priced_micros: int = 0
    """Sum of its parts' rounded prices, collected or not."""
    charged_micros: int = 0
    """Sum of what was collected, by draw or by debt."""
    has_outcome_rule: bool = False
    outcome_charged: bool = False
    own_run: str | None = None
    """State of the run of its usage that names no run of its own (opaque: pricing's)."""
    costs: ReservationCosts = NO_COSTS
    lapsed_micros: int = 0
    """What it held when it expired, less what late commits have been charged; never below 0."""
    counters: tuple[str, ...] = ()
    """The keys of the budgets' counters in which all its work counts."""

    @property
    def held_micros(self) -> int:
        held = 0
        for pin in self.pins:
            held += pin.micros
        return held


class Wallet(NamedTuple):
    """What the engine keeps in memory of one customer: it decides with it, and answers no read from it."""

    customer: int
    sequence: int
    display_name: str
    plan: str
    card: str | None
    """The card that replaces the plan's, if the customer names one."""
    zone: str
    """IANA name of the customer's time zone: calendar windows only."""
    multiplier_nanos: int
    """What the customer has negotiated: its prices are multiplied by it, in billionths."""
    balances: Credits
    lots: tuple[Lot, ...]
    """Lots that are pending, active, disputed, or held by a reservation after their expiry; in burn order."""
    unbilled_nanousd: int
    """The price of the debt."""
    next_due_at: datetime | None
    """Nothing is due by the clock before this instant (a lower bound); None: nothing will be."""
    last_instant: datetime
    """The instant of the newest entry: instants of a customer never go back."""
    tallies: Mapping[str, Tally] = NO_TALLIES
    """What rounding has left over, by card and by pool (`tallies` says how); the longest unused first."""
    plan_overrides: str | None = None
    """JSON: the fields of its plan that the customer has its own of, as `plans.yaml` writes them."""


class OverCapture(StrEnum):
    """What a commit does with a charge that its hold does not cover."""

    CAP = "CAP"
    REJECT = "REJECT"
    ALLOW_IF_AVAILABLE = "ALLOW_IF_AVAILABLE"
    ALLOW_WITH_OVERDRAFT = "ALLOW_WITH_OVERDRAFT"


class UsedCredits(StrEnum):
    """What becomes of the used credits of a grant that is voided."""

    STAY_PAID = "STAY_PAID"
    """They stay consumed, and paid for: the customer loses what is left alone."""
    BECOME_DEBT = "BECOME_DEBT"
    """Their payment was taken back (a chargeback): the customer owes them, at what was paid for them."""


class Unpriced(StrEnum):
    """What work that is done is charged, if it has no price. It is flagged in any case."""

    BOOK = "BOOK"
    """Nothing."""
    CHARGE_HOLD = "CHARGE_HOLD"
    """What is left of the hold."""
    FALLBACK = "FALLBACK"
    """What a rule amounts to that the card names for it."""


class PlanEntitlements(NamedTuple):
    """Which usage a plan lets its customers begin: pricing says what that means."""

    allow: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names or globs by kind of usage."""
    deny: tuple[tuple[str, tuple[str, ...]], ...] = ()


class BudgetWindow(StrEnum):
    """How long a budget counts, by the clock of the customer's zone."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    """From Monday."""
    MONTH = "MONTH"
    TOTAL = "TOTAL"
    """All time."""


class AtLimit(StrEnum):
    """What becomes of a hold that asks for more than a budget leaves. Charges are refused either way."""

    THROTTLE = "THROTTLE"
    """`UP_TO` holds what is left."""
    BLOCK = "BLOCK"
    """It is refused, `UP_TO` too."""


class Budget(NamedTuple):
    """How many credits work may take in a window; `budgets.py` says how they count."""

    name: str
    limit_micros: int
    window: BudgetWindow
    by: tuple[str, ...] = ()
    """Labels: each combination of their values has a count of its own. None: the customer has one."""
    where: tuple[tuple[str, str], ...] = ()
    """It counts work with these labels and values alone."""
    notify_percents: tuple[int, ...] = ()
    """Of the limit: where the count reaches one, or falls below it again, that is an event."""
    at_limit: AtLimit = AtLimit.THROTTLE


class BudgetCounter(NamedTuple):
    """What one budget counts in one window, for one combination of labels."""

    key: str
    """Of its state."""
    budget: Budget | None
    """As the plan has it now; None: it has it no more, or not so."""
    labels: Mapping[str, str]
    """Those that it counts by."""
    used_micros: int
    """Held by open reservations or charged."""
    ends_at: datetime | None

    @property
    def left_micros(self) -> int:
        """What the budget leaves; only of one that has a limit."""
        return max(0, self.budget.limit_micros - self.used_micros) if self.budget is not None else 0


class BudgetCrossing(NamedTuple):
    """A threshold of a budget that an entry has crossed."""

    budget: str
    labels: Mapping[str, str]
    percent: int
    used_micros: int
    """After the entry."""
    limit_micros: int
    ends_at: datetime | None
    is_recovery: bool
    """The count has fallen below it."""


class EntryBudgets(NamedTuple):
    """What an entry did to budgets, as far as that is to be known later."""

    counters: tuple[str, ...] = ()
    """RESERVE, CHARGE: the keys of the counters in which its work counts."""
    crossings: tuple[BudgetCrossing, ...] = ()


class Every(StrEnum):
    """How often a grant recurs."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


class Rollover(NamedTuple):
    """What of a period's unused credits the next one takes over."""

    min_micros: int = 0
    """Of less nothing rolls over."""
    max_micros: int | None = None
    """Of more only so much does; None: all."""
    life: timedelta | None = None
    """Of what has rolled over; None: until the next renewal."""


class RecurringGrant(NamedTuple):
    """What a plan grants again and again."""

    name: str
    amount_micros: int
    paid_total_nanousd: int
    """What is paid for each of them."""
    kind: GrantKind
    every: Every
    day: int | None = None
    """MONTH: the day on which it recurs, or the last one of a shorter month. None: that on which the customer
    came to the plan."""
    priority: int = 0
    scope: str | None = None
    life: timedelta | None = None
    """None: until the next renewal."""
    rollover: Rollover | None = None
    prorated: bool = False
    """Who comes to the plan within a period is granted the rest of it, by time; else the next comes first."""


class Plan(NamedTuple):
    """A customer's policies, as the configuration states them."""

    name: str
    card: str | None
    over_capture: OverCapture = OverCapture.ALLOW_IF_AVAILABLE
    overdraft_limit_micros: int = 0
    default_ttl: timedelta = timedelta(minutes=5)
    max_ttl: timedelta = timedelta(hours=24)
    unpriced: Unpriced = Unpriced.BOOK
    low_balance_micros: int = 0
    """Where fewer credits than these are left the balance is low, which is an event; 0: never."""
    entitlements: PlanEntitlements | None = None
    """None: whatever the customer's card lets it begin."""
    top_up: TopUpRules | None = None
    """When credits are bought anew; None: never by itself."""
    budgets: tuple[Budget, ...] = ()
    expiring_notice: timedelta | None = None
    """How long before it expires a grant is reported, which is an event; None: never."""
    grants: tuple[RecurringGrant, ...] = ()
    """What recurs."""
    used_when_voided: UsedCredits = UsedCredits.STAY_PAID
    """Of a grant that is voided, where whoever voids it does not say."""


class RenewalKey(NamedTuple):
    """A recurring grant of a plan."""

    plan: str
    grant: str
    """Its name; '' for the customer's coming to the plan, by which the others begin."""


class Renewal(NamedTuple):
    """Where a customer stands with a recurring grant."""

    next_at: datetime | None
    """When it is due again; None: never."""
    every: Every = Every.MONTH
    anchor: date = date.min
    """A day on which it recurs, in the customer's zone: the others are counted from it."""
    lots: tuple[LotKey, ...] = ()
    """What ends at the next renewal, and may roll over then."""


NO_RENEWALS: Mapping[RenewalKey, Renewal] = MappingProxyType({})


class Treatment(StrEnum):
    """How a line's usage is paid for."""

    CHARGED = "CHARGED"
    INCLUDED = "INCLUDED"
    """Free on this line, knowingly: another rule (an outcome, say) pays for it."""
    UNPRICED = "UNPRICED"


class PoolPart(NamedTuple):
    """What a line costs in lots of a pool, while they last."""

    pool: str
    exact_micros: Fraction


class PricedLine(NamedTuple):
    """One usage item with its exact price and cost. `public` may leave by a public door, `internal` never."""

    kind: str
    treatment: Treatment
    exact_micros: Ratio
    cost_exact_nanousd: Ratio
    public: Mapping[str, object]
    """title, kind, name (as asked for), quantities: JSON values."""
    internal: Mapping[str, object]
    """rule, rates, served_by, lever, list/asked/served cost, source of the cost: JSON values."""
    effects: tuple[Effect, ...] = ()
    """What it added to the states that prices remember."""
    saved_exact_nanousd: Ratio = NO_AMOUNT
    """What a lever saved of the cost of what was asked for, signed; on the customer's own key it did."""
    own_key_exact_nanousd: Ratio = NO_AMOUNT
    """What the customer paid the provider for it, on its own key."""
    pool: PoolPart | None = None
    """If it may draw on a pool; `exact_micros` is then what it costs where nothing of that is left."""


class Rounding(NamedTuple):
    """A card's quantum, and `half_even`, `half_up`, `up` or `down`."""

    quantum_micros: int = 1
    mode: str = "half_even"


class Priced(NamedTuple):
    """What pricing said of the usage of one command, in the books' own words."""

    lines: tuple[PricedLine, ...]
    rounding: Rounding
    has_outcome_rule: bool
    """The card prices outcomes: included usage waits for one."""
    outcome_charged: bool
    """One of the lines is an outcome that is charged for."""
    occurred_at: datetime | None
    """The latest instant that the usage states, if it states any."""
    states: Mapping[str, State] = STATELESS
    """States that prices remember, by key, as this usage leaves them: with what earlier lines have booked."""
    own_run: str | None = None
    """New state of the run that is the reservation itself; carried on it."""


class EntryKind(StrEnum):
    CUSTOMER_CREATED = "CUSTOMER_CREATED"
    CUSTOMER_UPDATED = "CUSTOMER_UPDATED"
    GRANT = "GRANT"
    """A lot is issued: one of the entry's own, or one whose payment is confirmed (its `subject`). Without a
    request it recurs."""
    GRANT_PENDING_PAYMENT = "GRANT_PENDING_PAYMENT"
    """A grant is stated that is issued once it is paid."""
    GRANT_STARTED = "GRANT_STARTED"
    GRANT_EXPIRED = "GRANT_EXPIRED"
    GRANT_VOIDED = "GRANT_VOIDED"
    GRANT_EXTENDED = "GRANT_EXTENDED"
    GRANT_DISPUTED = "GRANT_DISPUTED"
    GRANT_DISPUTE_WON = "GRANT_DISPUTE_WON"
    """Its payment stands. One that is lost is GRANT_VOIDED."""
    GRANT_REFUNDED = "GRANT_REFUNDED"
    """Credits of it are taken back for money, which is to be paid back."""
    GRANT_WRITTEN_OFF = "GRANT_WRITTEN_OFF"
    """What it was sold for, or a part of that, will never be paid. No credits move."""
    ROLLOVER = "ROLLOVER"
    """Unused credits of lots that end move on to a new one, with their value: no posting."""
    RESERVE = "RESERVE"
    EXTEND = "EXTEND"
    COMMIT = "COMMIT"
    RELEASE = "RELEASE"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED"
    CHARGE = "CHARGE"
    REVERSAL = "REVERSAL"
    REFUND = "REFUND"
    PERIOD_CLOSED = "PERIOD_CLOSED"


class Draw(NamedTuple):
    """Credits that left a lot (or came back to it), and the value that went with them."""

    lot: LotKey
    micros: int
    value_nanousd: int


class EntryLine(NamedTuple):
    """One usage item of a booked charge, as its customer sees it."""

    treatment: Treatment
    public: Mapping[str, object]
    credits_micros: int
    """Its share of the entry's rounded price (collected or not); the shares add up."""
    pool: str | None = None
    pool_micros: int = 0
    """What of `credits_micros` was drawn from the pool."""


class MoneyLine(NamedTuple):
    """The same item as finance sees it; the amounts of all lines add up to the entry's."""

    kind: str
    treatment: Treatment
    internal: Mapping[str, object]
    credits_micros: int
    revenue_nanousd: int
    cost_nanousd: int
    effects: tuple[Effect, ...] = ()
    saved_nanousd: int = 0
    """Memo: what a lever saved. With the cost it makes the baseline, the cost of what was asked for."""
    own_key_nanousd: int = 0
    """Memo: what the customer paid the provider, on its own key."""
    pool: str | None = None
    pool_micros: int = 0


class Money(NamedTuple):
    """The dollar side of an entry, and all that tells cost: in a table of its own."""

    dollars: Dollars
    lines: tuple[MoneyLine, ...] = ()
    draws: tuple[Draw, ...] = ()
    debt_value_nanousd: int = 0
    """What moved between `unbilled` and revenue (or was paid of it), signed like `unbilled`."""
    absorbed_failed_outcome_nanousd: int = 0
    absorbed_uncollected_nanousd: int = 0
    absorbed_unpriced_nanousd: int = 0
    remainders: Mapping[str, Ratio] = NO_REMAINDERS
    """Memo, in micro-credits, reduced, by key of the wallet's tallies: how much more is carried since it."""


class ReservationImage(NamedTuple):
    """A reservation as an entry left it: what the stored answer to a repeat is made of."""

    sequence: int
    state: ReservationState
    held_micros: int
    charged_micros: int
    expires_at: datetime


class Entry(NamedTuple):
    """One event of one customer: its postings sum to 0 in each commodity.

    It is the idempotency record (`request_id`, `fingerprint`) and the statement line too: `after` are the
    customer's balances after it.
    """

    customer: int
    sequence: int
    kind: EntryKind
    request_id: str | None
    """None for what is due by the clock."""
    fingerprint: bytes | None
    credits: Credits
    after: Credits
    effective_at: datetime
    booked_at: datetime
    occurred_at: datetime | None = None
    reservation: ReservationImage | None = None
    subject: int | None = None
    """REVERSAL: the sequence of the charge or reservation undone. REFUND: of the charge. Lot events: the
    lot's sequence."""
    subject_n: int | None = None
    terms: Terms | None = None
    plan: str = ""
    priced_micros: int = 0
    """COMMIT, CHARGE: the rounded price. REVERSAL, REFUND, PERIOD_CLOSED: what is taken back, negative."""
    uncollected_micros: int = 0
    late: bool = False
    final: bool = False
    """COMMIT: the last of its reservation. REFUND: nothing is left of the charge."""
    reason: str | None = None
    labels: Mapping[str, str] = NOTHING
    lines: tuple[EntryLine, ...] = ()
    money: Money | None = None
    """None where no dollars move and there is no memo."""
    budgets: EntryBudgets | None = None
    """None where that would say nothing."""

    @property
    def charged_micros(self) -> int:
        """What a commit or a charge collected, by draw or by debt; negative: what was given back."""
        return self.priced_micros - self.uncollected_micros


class Facts(NamedTuple):
    """What a command names beyond the wallet, as the last entry left it; what is missing does not exist."""

    reservation: Reservation | None = None
    charges: tuple[Entry, ...] = ()
    """Reverse: the entries to undo, with their money, oldest first: that of a `Charge`, or all commits of the
    reservation and the release or expiry that ended its hold. Refund: that of the `Charge` or commit."""
    refunds: tuple[Entry, ...] = ()
    """Reverse, Refund: the refunds of `charges`, with their money, oldest first."""
    later: tuple[Entry, ...] = ()
    """Reverse, Refund of what made debt: the grants, starts, reversals and refunds since it first did that
    paid debt or gave credits back, with their money, oldest first."""
    reversed: bool = False
    """Reverse, Refund: the charge has been undone before; a commit with its reservation."""
    is_beyond_limit: bool = False
    """Reverse: a reservation has more lines to undo than `LINES_UNDONE_MAX`; its `charges` are left out."""
    is_exact: bool = True
    """Reverse: what the others of a period amount to without `charges` is known exactly: `states` has it."""
    lots: tuple[Lot, ...] = ()
    """Reverse, Refund: the lots that `charges` and `later` drew. Of a grant's command: that which is named.
    Those in the wallet count as they stand there."""
    record: GrantRecord = NO_RECORD
    """Of a grant's command: what is known of the lot. For one that was not granted, but made of credits that
    came back, nothing is known to have been paid (None)."""
    states: Mapping[str, State] = STATELESS
    """Reverse: the states that `charges` changed, as they are without them. Refund: as they are."""
    freed: Mapping[str, State] = STATELESS
    """Refund: the marks that are freed if it is in full."""
    counters: tuple[BudgetCounter, ...] = ()
    """Reserve, Charge: of the plan's budgets that its work counts in. Extend, Commit, Release: of the
    reservation's. Reverse: of what is undone."""


class Decision(NamedTuple):
    """An entry, and the final images of what it changed."""

    entry: Entry
    wallet: Wallet
    lots: tuple[Lot, ...] = ()
    """Born or changed by this entry; depleted ones too (they have left `wallet.lots`)."""
    reservation: Reservation | None = None
    states: Mapping[str, State] = STATELESS
    """Those that changed, by key."""
    records: Mapping[LotKey, GrantRecord] = NO_RECORDS
    """What becomes known of lots, beside what is known already."""
    renewals: Mapping[RenewalKey, Renewal] = NO_RENEWALS
    """Those that changed, by key."""


class RefusalReason(StrEnum):
    """Why a command has no effect, in order of precedence; `docs/api.md` tells each to callers."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    CUSTOMER_NOT_FOUND = "CUSTOMER_NOT_FOUND"
    CUSTOMER_EXISTS = "CUSTOMER_EXISTS"
    """Another request created a customer of this id."""
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    BOOKS_DO_NOT_VERIFY = "BOOKS_DO_NOT_VERIFY"
    """What is stored of the customer breaks a rule of the books: nothing is booked upon it."""
    RATE_CARD_NOT_FOUND = "RATE_CARD_NOT_FOUND"
    PLAN_NOT_FOUND = "PLAN_NOT_FOUND"
    RATE_VERSION_NOT_FOUND = "RATE_VERSION_NOT_FOUND"
    RATE_REVISION_TAKEN = "RATE_REVISION_TAKEN"
    """The latest version has the same revision, with other content."""
    RATE_REVISION_PASSED = "RATE_REVISION_PASSED"
    """A higher revision is published."""
    MARGIN_BELOW_FLOOR = "MARGIN_BELOW_FLOOR"
    """A card would leave less than it says it must."""
    PLANS_IN_USE = "PLANS_IN_USE"
    """Plans would leave customers without one, or without a card."""
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    KEY_ENDED = "KEY_ENDED"
    """Revoked, expired, or rotated before."""
    WEBHOOK_NOT_FOUND = "WEBHOOK_NOT_FOUND"
    TOO_MANY_WEBHOOKS = "TOO_MANY_WEBHOOKS"
    RESERVATION_NOT_FOUND = "RESERVATION_NOT_FOUND"
    CHARGE_NOT_FOUND = "CHARGE_NOT_FOUND"
    GRANT_NOT_FOUND = "GRANT_NOT_FOUND"
    RESERVATION_CLOSED = "RESERVATION_CLOSED"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED"
    RESERVATION_OPEN = "RESERVATION_OPEN"
    """A reversal takes a closed reservation."""
    CHARGE_NOT_REVERSIBLE = "CHARGE_NOT_REVERSIBLE"
    """Undone before, or a part of a reservation, which is reversed whole."""
    REVERSAL_TOO_LARGE = "REVERSAL_TOO_LARGE"
    """The parts of the reservation, and their refunds, have more lines than are undone at once."""
    REVERSAL_NOT_EXACT = "REVERSAL_NOT_EXACT"
    """What the others of its period amount to without it is not known to the micro-credit any more."""
    REFUND_EXCEEDS_CHARGE = "REFUND_EXCEEDS_CHARGE"
    """More than is left of the charge; or nothing is left of it."""
    TOO_MANY_REFUNDS = "TOO_MANY_REFUNDS"
    """The charge takes no more refunds of a part; what is left may still go back in one."""
    GRANT_CLOSED = "GRANT_CLOSED"
    """It has expired, was voided, or has nothing left that could be taken back."""
    GRANT_NOT_PENDING_PAYMENT = "GRANT_NOT_PENDING_PAYMENT"
    """There is no payment to confirm."""
    GRANT_NOT_DISPUTED = "GRANT_NOT_DISPUTED"
    """There is no dispute to resolve."""
    REFUND_EXCEEDS_GRANT = "REFUND_EXCEEDS_GRANT"
    """More credits than nobody holds of it, or more money than is left of what was paid for it."""
    WRITE_OFF_EXCEEDS_CLAIM = "WRITE_OFF_EXCEEDS_CLAIM"
    """More than is owed; or nothing is."""
    TOO_MANY_GRANTS = "TOO_MANY_GRANTS"
    """The customer has credits left of as many grants as it may have at a time."""
    NOT_ENTITLED = "NOT_ENTITLED"
    UNPRICED_USAGE = "UNPRICED_USAGE"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    """A budget leaves less than this needs."""
    OVER_CAPTURE = "OVER_CAPTURE"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"


class Refusal(NamedTuple):
    """A command that had no effect, and why. Values, not exceptions: exceptions are faults."""

    reason: RefusalReason
    detail: Mapping[str, str] = NOTHING
    """The variables of the reason, e.g. available_micros, required_micros, field, description."""
