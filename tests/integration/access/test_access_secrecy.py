"""Keys and tokens are where their callers have them, and nowhere else.

A server that logs all that it can is driven with keys and tokens that are known, in their place and in wrong
ones, in the middle of faults too. Then every byte is searched that it, its database and its command line have
left: logs, metrics, errors, the process list, the environments of others, the tables, the database's own log.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from guarded import CONFIG, CREDIT, OF_A_CUSTOMER, Guarded, Method, reached, unknown

from ledger.access.caller import SCOPES
from ledger.access.keys import parse
from ledger.store.postgres.database import ROLES
from tests import serving
from tests.calling import first_answer, fresh
from tests.serving import FREE_PORTS, REPOSITORY

LOUD = (
    "import logging; logging.basicConfig(level=logging.DEBUG); logging.INFO = logging.DEBUG;"
    "from ledger.cli.main import main; main()"
)
"""The command line, with every log of every library."""
START_LINES = 5
PIECE = 12
"""Characters of a secret that are met nowhere by chance."""


@dataclass
class Left:
    """What was left, and by whom."""

    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, text: str | bytes) -> None:
        self.texts.append((where, text.decode("latin-1") if isinstance(text, bytes) else text))

    def found(self, secrets: Iterable[str]) -> set[str]:
        """Where any piece of a secret is."""
        pieces = {piece for secret in secrets for piece in pieces_of(secret)}
        return {where for where, text in self.texts if any(piece in text for piece in pieces)}


def pieces_of(secret: str) -> Iterator[str]:
    """Parts of a key or a token that tell it, and what it is as Base64 or hexadecimal."""
    key = parse(secret)
    hidden = key.secret if key is not None else secret.rpartition(".")[2]
    yield hidden[:PIECE]
    yield hidden[-PIECE:]
    for text in (secret, hidden):
        yield text.encode().hex()
        yield b64encode(text.encode()).decode().rstrip("=")[:-1]


@dataclass
class Loud:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    said: str

    @property
    def public_target(self) -> str:
        return self.address("public API")

    @property
    def back_office_target(self) -> str:
        return self.address("back office")

    def address(self, name: str) -> str:
        return serving.address(self.said, name)


def environment(**settings: str) -> dict[str, str]:
    stored = {name: value for name, value in os.environ.items() if not name.startswith("ACU_LEDGER_")}
    return {**stored, "GRPC_VERBOSITY": "debug", **settings}


@asynccontextmanager
async def loud_server(urls: Any, left: Left, directory: Path) -> AsyncIterator[Loud]:
    """Runs a server, and takes what it has said when it has ended."""
    stderr = directory / "stderr"
    with (
        stderr.open("w") as log,
        subprocess.Popen(  # noqa: ASYNC220 -- it has nothing else to do
            [sys.executable, "-c", LOUD, "serve", "--config", str(CONFIG)],
            cwd=REPOSITORY,
            env=environment(**FREE_PORTS, **urls.environment),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            said = "".join([await asyncio.to_thread(process.stdout.readline) for _ in range(START_LINES)])
            yield Loud(process, said)
            process.terminate()
            rest, _ = await asyncio.to_thread(process.communicate, timeout=300)
            assert process.returncode == 0
            left.add("stdout", said + rest)
        finally:
            process.kill()
    left.add("stderr", stderr.read_bytes())
    assert {"DEBUG:", "rpc.fault", "database.away"} <= set(re.findall(r"DEBUG:|\w+\.\w+", stderr.read_text()))


def command(left: Left, *arguments: str, is_shown: bool = False, **settings: str) -> str:
    """Runs the command line, and takes what it leaves; a key that it is to show is not among that."""
    with subprocess.Popen(
        [sys.executable, "-c", LOUD, *arguments],
        cwd=REPOSITORY,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        left.add(f"arguments of {arguments}", Path(f"/proc/{process.pid}/cmdline").read_bytes())
        stdout, stderr = process.communicate(timeout=300)
    left.add(f"stderr of {arguments}", stderr)
    if not is_shown:
        left.add(f"stdout of {arguments}", stdout)
    return stdout.strip()


class Caller:
    """Calls a service, and takes all that comes back with an error."""

    def __init__(self, service: Guarded, left: Left) -> None:
        self._service = service
        self._left = left

    async def __call__(self, name: str, request: Message, *metadata: tuple[str, str]) -> Any:
        """The answer; None if there is none."""
        method = self._service.methods[name]
        try:
            return await first_answer(method.channel, method.descriptor, request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self._left.add(f"error of {name}", f"{error!r} {error.code()} {error.details()}")
            for key, value in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())):
                self._left.add(f"metadata of {name}", f"{key}={value}")
                self._left.add(f"metadata of {name}", value if isinstance(value, bytes) else value.encode())
            return None


def bearer(secret: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {secret}")


def texts_of(descriptor: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The fields of a message that take a text, those of its messages included."""
    for each in descriptor.fields:
        if each.type == FieldDescriptor.TYPE_STRING:
            yield (*path, each.name)
        elif each.message_type is not None and len(path) < 3 and not each.message_type.GetOptions().map_entry:
            yield from texts_of(each.message_type, (*path, each.name))


def put(message: Message, path: tuple[str, ...], text: str) -> None:
    """Writes a text into a field."""
    *parents, name = path
    for parent in parents:
        inner = getattr(message, parent)
        message = inner.add() if hasattr(inner, "add") else inner
        message.SetInParent()
    value = getattr(message, name)
    if isinstance(value, str):
        setattr(message, name, text)
    else:
        value.append(text)


def of_ids(method: Method) -> Iterator[tuple[str, ...]]:
    """The fields of a method's request that are ids, and so hold no key."""
    return (path for path in texts_of(method.descriptor.input_type) if path[-1].endswith(("_id", "_ids")))


def valid(name: str) -> dict[str, Any]:
    """The fields of a request that is carried out; none for a method that is about no customer."""
    fields = OF_A_CUSTOMER.get(name)
    if fields is None:
        return {}
    return {"customer_id": "cus_a", **fields, **({"request_id": fresh()} if "request_id" in fields else {})}


async def use_all(service: Guarded, left: Left) -> tuple[list[str], list[str]]:
    """Makes, lists, rotates, revokes and uses keys of every scope, and tokens; keys, and tokens."""
    of_scope = {scope: await a_key(service, scope) for scope in SCOPES}
    rotated = await service.make("backend")
    key_id = parse(rotated).key_id
    answer = await service.call("RotateKey", service.ops, request_id=fresh(), key_id=key_id)
    revoked = await service.make("backend")
    tokens = [
        (await service.call("CreateCustomerToken", key, customer_id="cus_a")).response.token
        for key in (of_scope["backend"], rotated, revoked)
    ]
    await service.call("RevokeKey", service.ops, key_id=parse(revoked).key_id)
    keys = [*of_scope.values(), service.ops, rotated, revoked, answer.response.secret, unknown()]
    listed = await service.call("ListKeys", service.ops, page_size=2)
    left.add("answer of ListKeys", listed.response.SerializeToString())
    left.add("page token", listed.response.next_page_token)
    caller = Caller(service, left)
    for name, method in service.methods.items():
        if name not in ("CreateKey", "RotateKey", "CreateCustomerToken"):
            for secret in (of_scope[method.scope], revoked, *tokens):
                answered = await caller(name, method.request(**valid(name)), bearer(secret))
                left.add(f"answer of {name}", answered or b"")
    return keys, tokens


async def a_key(service: Guarded, scope: str) -> str:
    return await service.make(scope, customers=("cus_a",) if scope == "wallet" else ())


async def misuse(service: Guarded, left: Left, secret: str) -> None:
    """Sends a secret by wrong schemes and names, and as an id of every method, with a key that may call."""
    caller = Caller(service, left)
    balance = service.methods["GetBalance"].request(customer_id="cus_a")
    for metadata in (
        [("authorization", secret)],
        [("authorization", f"Basic {secret}")],
        [("authorization", f"Bearer  {secret}")],
        [("authorization", f"Bearer {secret[:-1]}")],
        [("authorization", f"Bearer {secret}, Bearer {secret}")],
        [bearer(secret), bearer(secret)],
        [("x-api-key", secret)],
        [("grpc-trace-bin", secret.encode())],
        [(f"x-{secret.lower()[:40]}".replace(".", "-"), secret)],
        [("traceparent", secret)],
        [("user-agent", secret)],
        [("grpc-timeout-of-mine", secret)],
    ):
        await caller("GetBalance", balance, *metadata)
    able = {scope: await a_key(service, scope) for scope in SCOPES}
    for name, method in service.methods.items():
        for path in of_ids(method):
            request = method.request(**valid(name))
            put(request, path, secret)
            left.add(f"answer of {name}", await caller(name, request, bearer(able[method.scope])) or b"")
    channel = service.methods["GetBalance"].channel
    for path in (
        f"/ledger.v1.CreditService/{secret}",
        f"/{secret}/Charge",
        f"/grpc.health.v1.Health/{secret}",
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(path)(b"", metadata=[bearer(secret)])
        left.add("error of a path", refused.value.details() or "")


async def be_at_fault(service: Guarded, left: Left, backend: str, secret: str) -> None:
    """Uses a secret, and sends it as data, while the service is at fault and its database is away."""
    caller = Caller(service, left)
    usage = {"items": [{"units": {"meter": secret[:128], "quantity": "1"}}]}
    fields = {"customer_id": "cus_a", "labels": {"user": secret[:128], "other": {"x": secret[:128]}}}
    charge = service.methods["Charge"]
    told_apart = service.methods["GetBalance"].request(customer_id="cus_a")

    async def reads() -> None:
        await caller("GetBalance", told_apart, bearer(secret))
        await caller("ListKeys", service.methods["ListKeys"].request(), bearer(service.ops))

    await service.owner.execute("ALTER TABLE cell_00.money ADD CONSTRAINT planted CHECK (false) NOT VALID")
    await service.owner.execute("ALTER TABLE cell_00.lots RENAME TO broken")
    await service.owner.execute("ALTER TABLE ledger.keys RENAME TO lost")
    for given in ({"amount_micros": CREDIT}, {"usage": usage, "already_used": True}):
        await caller("Charge", charge.request(request_id=fresh(), **fields, **given), bearer(backend))
    await reads()
    await service.owner.execute("ALTER TABLE ledger.lost RENAME TO keys")
    await service.owner.execute("ALTER TABLE cell_00.broken RENAME TO lots")
    await service.owner.execute("ALTER TABLE cell_00.money DROP CONSTRAINT planted")
    for role in ROLES:
        await service.owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    # A session that is asked to end may answer once more.
    while await service.owner.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = ANY($1::text[])",
        list(ROLES),
    ):
        pass
    await reads()
    for role in ROLES:
        await service.owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")


def scrape(server: Loud, left: Left, secrets: Iterable[str]) -> None:
    """Asks both pages of metrics with each secret, in its place and in others."""
    for page in ("operations metrics", "finance metrics"):
        url = urlsplit(server.address(page))
        for secret in secrets:
            for path, headers in (
                ("/metrics", {"Authorization": f"Bearer {secret}"}),
                ("/metrics", {"Authorization": f"Basic {secret}"}),
                ("/metrics", {"X-Key": secret}),
                (f"/metrics?key={secret}", {}),
                (f"/{secret}", {}),
            ):
                connection = HTTPConnection(url.netloc, timeout=300)
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                left.add(page, answer.read())
                left.add(page, str(answer.headers))
                connection.close()
            connection = HTTPConnection(url.netloc, timeout=300)
            connection.request(secret[:20].upper(), f"/{secret}")
            left.add(page, connection.getresponse().read())
            connection.close()


def look_at_processes(left: Left) -> None:
    """Takes arguments and environments of all processes."""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                left.add(f"{name} of {process.name}", (process / name).read_bytes())
            except OSError:
                continue


async def look_at_database(owner: asyncpg.Connection, left: Left) -> None:
    """Takes each row of each table, what its sessions run, and what it has logged."""
    tables = await owner.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname = 'ledger' OR schemaname LIKE 'cell%'"
    )
    assert len(tables) > 10
    for table in tables:
        rows = await owner.fetch(f"SELECT t::text AS row FROM {table['name']} t")
        left.add(f"table {table['name']}", "\n".join(row["row"] for row in rows))
    statements = await owner.fetch("SELECT query FROM pg_stat_activity WHERE query IS NOT NULL")
    left.add("statements", "\n".join(row["query"] for row in statements))
    log = Path(await owner.fetchval("SHOW data_directory")) / "log"
    left.add("log of the database", log.read_bytes())
    assert "parameters: " in left.texts[-1][1].lower()


async def test_keys_and_tokens_are_nowhere_else(database_urls, tmp_path):
    """Nor are the secrets that sign tokens anywhere but in their table."""
    left = Left()
    owner = await asyncpg.connect(database_urls.owner)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
    await owner.close()
    made = ("keys", "create", "--scope", "ops", "--name", "first")
    first = await asyncio.to_thread(command, left, *made, is_shown=True, DATABASE_URL=database_urls.owner)
    async with (
        loud_server(database_urls, left, tmp_path) as server,
        reached(server, database_urls.owner) as service,
    ):
        service.ops = first
        await service.new_customer("cus_a")
        keys, tokens = await use_all(service, left)
        await misuse(service, left, keys[0])
        await misuse(service, left, tokens[0])
        as_data = await service.make("wallet", customers=("cus_a",))
        await be_at_fault(service, left, keys[0], as_data)
        target = ("--target", server.back_office_target)
        for secret in (unknown(), tokens[0]):
            await asyncio.to_thread(command, left, "keys", "list", *target, ACU_LEDGER_KEY=secret)
        await asyncio.to_thread(scrape, server, left, (keys[0], keys[4], tokens[0]))
        look_at_processes(left)
        await look_at_database(service.owner, left)
        signing = await service.owner.fetch("SELECT secret FROM ledger.signing_keys")
    assert left.found([*keys, *tokens]) == set()
    assert not [where for where in left.found([as_data]) if not where.startswith(("table", "log of"))]
    hidden = [row["secret"].hex() for row in signing]
    assert len(hidden) == 2
    assert {where for where, text in left.texts if any(each in text for each in hidden)} == {
        "table ledger.signing_keys"
    }
