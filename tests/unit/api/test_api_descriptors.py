"""What the descriptors of the API promise."""

from __future__ import annotations

import re

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from ledger.admin.v1 import admin_service_pb2
from ledger.api.messages.encode import _TYPES
from ledger.api.scopes import ScopeMissingError, scopes_of
from ledger.api.server import _pool
from ledger.books.model.entries import EntryKind
from ledger.finance.v1 import finance_service_pb2
from ledger.v1 import credit_service_pb2, scope_pb2, usage_pb2, wallet_service_pb2

PUBLIC = [
    credit_service_pb2.DESCRIPTOR.services_by_name["CreditService"],
    wallet_service_pb2.DESCRIPTOR.services_by_name["WalletService"],
]
BACK_OFFICE = [
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
    finance_service_pb2.DESCRIPTOR.services_by_name["FinanceService"],
]
WORDS_OF_COST = re.compile(
    r"cost|margin|markup|usd|dollar|nanousd|revenue|profit|provider|served|deferred|breakage|absorbed|value"
    r"|lever|discount|internal",
    re.IGNORECASE,
)


def messages_of(descriptor, seen):
    """All messages that a message is made of, itself included."""
    if descriptor.full_name in seen:
        return
    seen[descriptor.full_name] = descriptor
    for field in descriptor.fields:
        if field.message_type is not None and not is_map(field):
            messages_of(field.message_type, seen)


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@pytest.mark.parametrize("service", PUBLIC, ids=lambda service: service.name)
def test_no_word_of_cost_in_a_public_answer(service):
    """No answer of the public services has a field or a value for cost, money or margin."""
    seen = {}
    for method in service.methods:
        messages_of(method.output_type, seen)
    names = [
        name
        for message in seen.values()
        if message.file.package.startswith("ledger.")
        for field in message.fields
        for name in (field.name, *([v.name for v in field.enum_type.values] if field.enum_type else []))
    ]
    assert len(names) > 50 or service.name == "WalletService"
    assert [name for name in names if WORDS_OF_COST.search(name)] == []


def test_requests_name_what_served_and_nothing_else_of_cost():
    """The product says what really ran; it is the one thing of cost that it may say."""
    seen = {}
    for service in PUBLIC:
        for method in service.methods:
            messages_of(method.input_type, seen)
    found = {
        f"{message.name}.{field.name}"
        for message in seen.values()
        for field in message.fields
        if message.file.package.startswith("ledger.") and WORDS_OF_COST.search(field.name)
    }
    assert found == {"TokenUsage.served_by", "ComputeUsage.served_by"}


def test_usage_never_comes_back():
    """Usage as reported names what served: no public answer holds one."""
    seen = {}
    for service in PUBLIC:
        for method in service.methods:
            messages_of(method.output_type, seen)
    usage = {message.full_name for message in usage_pb2.DESCRIPTOR.message_types_by_name.values()}
    assert seen.keys() & usage == set()


@pytest.mark.parametrize("services", [PUBLIC, BACK_OFFICE], ids=["public", "back office"])
def test_every_method_says_who_may_call_it(services):
    """A method without a scope would be open to any key."""
    scopes_of(services)


@pytest.mark.parametrize("options", [None, scope_pb2.SCOPE_UNSPECIFIED])
def test_a_method_without_a_scope_is_refused(options):
    """The server does not start with a method that does not say who may call it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="test.proto", package="test", dependency=["ledger/v1/scope.proto"], syntax="proto3"
    )
    file.message_type.add(name="Empty")
    method = file.service.add(name="S").method.add(
        name="Open", input_type=".test.Empty", output_type=".test.Empty"
    )
    if options is not None:
        method.options.Extensions[scope_pb2.scope] = options
    pool = descriptor_pool.DescriptorPool()
    option_file = descriptor_pb2.FileDescriptorProto()
    descriptor_pb2.DESCRIPTOR.CopyToProto(option_file)
    pool.Add(option_file)
    scope_file = descriptor_pb2.FileDescriptorProto()
    scope_pb2.DESCRIPTOR.CopyToProto(scope_file)
    pool.Add(scope_file)
    pool.Add(file)
    with pytest.raises(ScopeMissingError, match=r"test\.S\.Open"):
        scopes_of([pool.FindServiceByName("test.S")])


def test_public_reflection_does_not_know_the_back_office():
    """What the public port tells of itself does not name the services of ops and finance."""
    pool = _pool(PUBLIC)
    assert pool.FindServiceByName("ledger.v1.CreditService").name == "CreditService"
    for hidden in ("ledger.finance.v1.FinanceService", "ledger.admin.v1.AdminService"):
        with pytest.raises(KeyError):
            pool.FindServiceByName(hidden)


def test_every_entry_that_moves_credits_has_a_type():
    """Each kind of entry of the journal can stand on a statement, but those that never move credits."""
    never = {
        EntryKind.CUSTOMER_CREATED,
        EntryKind.CUSTOMER_UPDATED,
        EntryKind.GRANT_PENDING_PAYMENT,
        EntryKind.GRANT_EXTENDED,
        EntryKind.GRANT_WRITTEN_OFF,
        EntryKind.ROLLOVER,
    }
    assert {*_TYPES} == {*EntryKind} - never
