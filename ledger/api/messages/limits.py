"""Every limit of the API, with its reason. What is past one is refused with the field and what is allowed.

Amounts are far below what 64 bits hold, so that sums of many of them still fit; where they do not, the
books refuse.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from ledger.access.tokens import LASTS_MAX
from ledger.books.model import labels


class Arrivals(NamedTuple):
    """Of messages that are on their way on one port: how many, and how long each may be."""

    at_once: int
    seconds: float
    at_ease: int
    """Where there are more the next has less time."""
    crowded_seconds: float
    safe_seconds: float = 0.0
    """The oldest gives way to the next where all places are taken, once it has had so long."""


class CallLimits(NamedTuple):
    """What one process bears of calls that have no answer yet, on all its ports."""

    calls: int
    reads: int
    reads_at_ease: int
    read_seconds: float
    items_read_in_vain_per_second: float
    items_read_in_vain_seconds: float


class PortLimits(NamedTuple):
    """What one port bears of whoever connects to it, before a method is asked."""

    batches: Arrivals
    keyless: Arrivals
    let_in_seconds: float
    reflections: int
    reflection_seconds: float
    balance_watches: int
    balance_watches_of_key: int
    balance_watch_seconds: float
    unseen_seconds: int
    handshake_seconds: float


BATCH_ITEMS_MAX: Final = 1_000
"""Writes in one `Batch`: past it a call gains no speed, and keeps others waiting."""

IMPORT_ITEMS_MAX: Final = 500
"""Customers and grants in one `Import`: past it a call gains no speed. What each of them is refused for fits
into the 4 MiB that clients take by default."""

BATCH_WORK_AT_ONCE: Final = 2_000
"""Items of usage (writes without usage count as one) of a `Batch` that are under way at once: the next begin
when these have their answers, so that no call fills the lines in which all others wait."""

BATCHES_BEGUN_AT_ONCE: Final = 1
"""Calls of `Batch` whose writes are being decoded and begun; the others wait for their turn: with more than
one the first would be as late as the last."""

BATCH_ARRIVALS: Final = Arrivals(
    at_once=32, seconds=10.0, at_ease=32, crowded_seconds=10.0, safe_seconds=0.25
)
"""Messages of `Batch` that are on their way on one port, 128 MiB at most, and how long each may be: 4 MiB on
a slow line. Where all places are taken the oldest gives way, so that whoever begins calls and sends no more
keeps nobody out; the next is refused where it has not had the last of these, in which most come."""

ITEMS_READ_IN_VAIN_PER_SECOND: Final = 5_000
"""Of batches, where holds are refused: only a message says whether it holds work that has been done. To read
1,000 and refuse them takes some 6 ms: a flood of holds takes a thirtieth of the time so."""

ITEMS_READ_IN_VAIN_SECONDS: Final = 1.0
"""How far ahead of that rate they may be: calls come in bursts, and rates are of seconds."""

USAGE_ITEMS_MAX: Final = 1_000
"""Items in one usage list: one command is priced and decided without a pause."""

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A request: gRPC's own default, some 4 KiB for each item of the largest batch."""

WALLET_BYTES_MAX: Final = 64 * 1024
"""A request that a customer's front end may make: a page token, and labels at their longest, are a third of
it. What 4 MiB may hold, 340,000 labels, takes 0.15 s to parse, and nobody is served meanwhile."""

CALLS_MAX: Final = 10_000
"""Calls of one process that have no answer yet: some seconds of all that it can do, and some 100 MiB."""

READS_MAX: Final = 2_000
"""Reads of one process that have no answer yet: what it does in some second."""

READ_SECONDS: Final = 1.0
READS_AT_EASE: Final = 100
"""Where there are more reads than the second, and the oldest that none has overtaken is older than the first,
the next is refused: it would wait as long. With fewer there may be nothing but a few long ones."""

CALLS: Final = CallLimits(
    calls=CALLS_MAX,
    reads=READS_MAX,
    reads_at_ease=READS_AT_EASE,
    read_seconds=READ_SECONDS,
    items_read_in_vain_per_second=ITEMS_READ_IN_VAIN_PER_SECOND,
    items_read_in_vain_seconds=ITEMS_READ_IN_VAIN_SECONDS,
)

CALLS_OF_CONNECTION_MAX: Final = 100
"""Calls of one connection at a time (HTTP/2 streams), the least that HTTP/2 recommends: a tenth of a second
of all that a process does. A client's further ones wait with the client, and cost the server nothing."""

CALLS_UNSEEN_MAX: Final = 1_000
CALLS_UNSEEN_HARD_MAX: Final = 1_500
UNSEEN_SECONDS_MAX: Final = 2
"""Calls that gRPC has received and the process has not begun with, some second of all that it does, and how
long they may wait so. Past the first number gRPC refuses some by itself, past the others each, as CANCELLED:
it knows no urgency. It takes more than ten connections that are used to the full."""

WATCHES_MAX: Final = 64
"""Streams of `Health.Watch` on one port: one for each client that balances load, and some to look."""

BALANCE_WATCHES_MAX: Final = 1_000
BALANCE_WATCHES_OF_KEY_MAX: Final = 500
"""Streams of `WatchBalance` on one port, and of them those of one key or its tokens: pages that customers
have open at a time. Each has its key looked at once a second, 5 ms of the process for all."""

BALANCE_WATCH_SECONDS: Final = 300.0
"""How long one of them lasts: clients find new replicas, and what a peer has left behind ends."""

REFLECTIONS_MAX: Final = 16
"""Streams of server reflection on one port: people with a tool."""

REFLECTION_SECONDS: Final = 60.0
"""How long one of them may last: a tool asks in a breath, and its place goes to the next."""

KEYLESS_BYTES_MAX: Final = 1_024
"""A message of health: it names a service."""

KEYLESS_ARRIVALS: Final = Arrivals(at_once=256, seconds=2.0, at_ease=16, crowded_seconds=0.5)
"""Messages of health that are on their way on one port, and how long each may be: gRPC keeps what has come of
one, up to its general bound, and whoever sends it has shown no key. One in good faith comes together with its
header fields, but a hundred replicas behind one balancer may ask at once: those beyond the first have less
time, and only where there are more than two such hundreds the oldest gives way."""

BACK_OFFICE_CONNECTIONS_MAX: Final = 64
"""Connections of the back office: people, and finance's jobs. The public port's are a setting."""

HANDSHAKE_SECONDS: Final = 10.0
"""Until a connection has said that it speaks HTTP/2."""

LET_IN_SECONDS: Final = 1.0
"""Whoever was let in so long before the message came is looked at again: a key is revoked within two."""

PORT: Final = PortLimits(
    batches=BATCH_ARRIVALS,
    keyless=KEYLESS_ARRIVALS,
    let_in_seconds=LET_IN_SECONDS,
    reflections=REFLECTIONS_MAX,
    reflection_seconds=REFLECTION_SECONDS,
    balance_watches=BALANCE_WATCHES_MAX,
    balance_watches_of_key=BALANCE_WATCHES_OF_KEY_MAX,
    balance_watch_seconds=BALANCE_WATCH_SECONDS,
    unseen_seconds=UNSEEN_SECONDS_MAX,
    handshake_seconds=HANDSHAKE_SECONDS,
)

IDLE_SECONDS: Final = 300
"""A connection without a call is asked to go; its client makes another when it next has one."""

AGE_SECONDS: Final = 3_600
AGE_GRACE_SECONDS: Final = 120
"""A connection of that age takes no new call, so that clients find new replicas and leave old ones; calls in
flight have the grace to end: longer than any write, a verification may need to be asked again."""

PING_SECONDS: Final = 60
PING_TIMEOUT_SECONDS: Final = 20
"""A peer of which nothing is heard is asked whether it is there, and let go if it does not answer."""

VIOLATIONS_MAX: Final = 16
"""Bad fields reported of one request: errors travel as trailing metadata, of which clients take 8 KiB."""

VIOLATION_BYTES_MAX: Final = 300
"""Bytes of the description of each: it may quote what was sent."""

VIOLATIONS_BYTES_MAX: Final = 5_200
"""Bytes of them all: in Base64 they are a third more, and the first is reported twice."""

NAMES_TOLD_MAX: Final = 20
"""Names reported of what there is (plans, cards), for the same reason."""

PAGE_BYTES_MAX: Final = 3 * 1024 * 1024
"""A page ends early here: a client's default receives no answer above 4 MiB."""

ID_LENGTH_MAX: Final = 128
"""Characters of an id (1 at least): room for a UUID with a prefix, and for the index that keeps it."""

NAME_LENGTH_MAX: Final = 128
"""Characters of a model, resource, meter, outcome, subject, tier or run."""

RESOURCE_LENGTH_MAX: Final = 16 + ID_LENGTH_MAX
"""Of what an act of the back office concerns: a customer's id, say, behind what tells it from a key's."""

DISPLAY_NAME_LENGTH_MAX: Final = 256
"""Characters of a customer's name."""

REFERENCE_LENGTH_MAX: Final = ID_LENGTH_MAX
"""Characters of a grant's external reference: an id of another system, which an index keeps."""

PLAN_OVERRIDES_LENGTH_MAX: Final = 4_096
"""Characters of a customer's own fields of its plan: they lie in memory with its wallet, and in its row."""

NOTE_LENGTH_MAX: Final = 1_000
"""Characters of a grant's note: a paragraph for the back office."""

REASON_LENGTH_MAX: Final = 256
"""Characters of the reason of a reversal (1 at least): a sentence for whoever audits it."""

LABELS_MAX: Final = 16
"""Labels of one write, named ones included: every entry carries them."""

LABEL_KEY_LENGTH_MAX: Final = labels.LABEL_KEY_LENGTH_MAX
LABEL_VALUE_LENGTH_MAX: Final = labels.LABEL_VALUE_LENGTH_MAX
"""Characters of a label's key and value; plans write labels too."""

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1_000
"""Rows of a page: an answer of some hundred KiB."""

MARGIN_ROWS_MAX: Final = 10_000
"""Rows of a margin report, which has no pages: some 2 MiB, below what a client receives by default."""

CUSTOMER_CHANGES_MAX: Final = 1_000
"""Customers of a simulation, which has no pages either: those who win or lose most."""

PAGE_TOKEN_LENGTH_MAX: Final = 6_144
"""Characters of a page token: none that was given out is longer."""

EVENT_TYPES_MAX: Final = 32
"""Types that a list of events is asked for: there are no more."""

USAGE_DAYS_MAX: Final = 92
"""Days of one usage report: a quarter."""

USAGE_LABEL_KEYS_MAX: Final = 4
"""Labels that a usage report distinguishes: a row's key is in the page token."""

KEY_CUSTOMERS_MAX: Final = 1_000
"""Customers that a key is bound to: every process holds them in memory."""

OVERLAP_DEFAULT: Final = timedelta(hours=24)
OVERLAP_MAX: Final = timedelta(days=30)
"""How long a key goes on beside its successor: a rotation that is not over in a month is none."""

TOKEN_TTL_MIN: Final = timedelta(minutes=1)
"""Of a customer's token: a shorter one ends on its way to the browser."""

TOKEN_TTL_DEFAULT: Final = timedelta(minutes=15)
"""How long whoever steals a token has it."""

TOKEN_TTL_MAX: Final = LASTS_MAX

TTL_MIN: Final = timedelta(seconds=1)
"""Of a hold: what is due by the clock is swept once a second."""

TTL_MAX: Final = timedelta(hours=24)
"""Of a hold, in all: credits of a customer are not locked away for longer by a job that died."""

OCCURRED_BACK_MAX: Final = timedelta(days=35)
"""How old reported usage may be: the longest month, and some days to report it."""

OCCURRED_AHEAD_MAX: Final = timedelta(minutes=5)
"""How far a caller's clock may be ahead."""

AMOUNT_MICROS_MAX: Final = 10**15
"""A billion credits in one amount: 9,000 of them still fit into a balance of 64 bits."""

AS_OF_BACK_MIN: Final = timedelta(seconds=15)
"""How old an instant must be to ask for the books as of it: then all that takes effect by it is written. A
batch is decided at most 5 s before its statement holds its locks, and the statement ends within 10 s."""

MULTIPLIER_MAX: Final = 1_000
"""What a customer's prices are multiplied by: past it a credit would be the wrong unit."""

PAID_NANOUSD_MAX: Final = 10**17
"""A hundred million dollars for one grant: 90 of them still fit into an account of 64 bits."""

QUANTITY_MAX: Final = 10**15
"""Tokens, requests or outcomes of one item."""

DURATION_SECONDS_MAX: Final = 10**9
"""Compute of one item: 30 machine-years."""

DECIMAL_INTEGER_DIGITS_MAX: Final = 15
DECIMAL_FRACTION_DIGITS_MAX: Final = 9
"""A decimal string, as an exact number of billionths."""
