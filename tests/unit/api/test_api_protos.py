"""What other languages need to speak to the service lies under `proto/`, and nothing else is needed."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from ledger.api import errors
from ledger.api.messages.validation import InvalidArgumentError
from ledger.engine.command import OverloadedError

PROTO = Path(__file__).parents[3] / "proto"


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """What protoc reads of `proto/` alone: its own well-known types aside, no other directory."""
    made = tmp_path_factory.mktemp("stubs") / "all.binpb"
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    asked = [f"-I{PROTO}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={made}", *files]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *asked], check=True, cwd=made.parent)
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(made.read_bytes()).file:
        pool.Add(file)
    return pool


@pytest.mark.parametrize(
    ("error", "reason", "names"),
    [
        (InvalidArgumentError([("ttl", "is 0.5 s")]), "INVALID_ARGUMENT", ["ErrorInfo", "BadRequest"]),
        (OverloadedError("oldest_seconds", 1.0), "OVERLOADED", ["ErrorInfo", "RetryInfo"]),
    ],
)
def test_stubs_of_the_protos_read_the_details_of_an_error(pool, error, reason, names):
    """Whoever makes stubs of `proto/` alone reads every detail of an error, and its reason."""
    made = GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))
    status = made.FromString(errors.status_of(error, "here").SerializeToString())
    found = {}
    for packed in status.details:
        detail = AnyMessage.FromString(packed.SerializeToString())
        name = detail.TypeName()
        found[name] = GetMessageClass(pool.FindMessageTypeByName(name)).FromString(detail.value)
    assert list(found) == [f"google.rpc.{name}" for name in names]
    assert found["google.rpc.ErrorInfo"].reason == reason


def test_protos_of_others_are_as_they_were_published():
    """NOTICE says that they are unchanged: byte by byte what the locked `googleapis-common-protos` has."""
    published = importlib.resources.files("google.rpc")
    files = sorted((PROTO / "google" / "rpc").iterdir())
    assert [file.name for file in files] == ["error_details.proto", "status.proto"]
    for file in files:
        assert file.read_bytes() == (published / file.name).read_bytes(), file.name
