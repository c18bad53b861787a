"""What `acu-ledger serve` prints once it serves: where, how, and calls that work as they stand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from ledger.app import Stack
from ledger.cli.access import CA, CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_KEY, KEY
from ledger.doors.address import beside, joined
from ledger.doors.certificates import Material

_BY_KEY: Final = f"""printf 'authorization: Bearer %s\\n' "${KEY}" | """
"""From the shell itself: an argument of a program could be read by every user of the machine."""


def greeting(stack: Stack) -> str:
    """The addresses, and calls, one after the other."""
    customer = '{"request_id": "1", "customer": {"customer_id": "me", "plan": "standard"}}'
    admin = f"{_origin(stack, stack.back_office_target)}/ledger.admin.v1.AdminService"
    public = f"{_origin(stack, stack.public_target)}/ledger.v1"
    office, door = (_curl(stack, asks) for asks in _certificates_asked(stack))
    return f"""\
Serving on {stack.front.address.ip}{_how(stack)}
  public API           {stack.public_target}
  back office          {stack.back_office_target}
  operations metrics   {stack.operations_url}
  finance metrics      {stack.finance_url}
Try{_given(stack)}:
  {office} {admin}/ListRateCards
  {office} -d '{customer}' {admin}/CreateCustomer
  {door} -d '{{"customer_id": "me"}}' {public}.WalletService/GetPriceList"""


def _how(stack: Stack) -> str:
    front = stack.front
    if front.address.is_loopback:
        to = (
            "calls need a key"
            if stack.asks_for_keys
            else "to whoever is on this machine, until there is a key"
        )
        return f" only, {to}."
    return f", {'in plaintext: TLS ends before it' if front.tls is None else 'by TLS'}; calls need a key."


def _certificates_asked(stack: Stack) -> tuple[bool, bool]:
    """Whether the back office asks its clients for a certificate, and whether the public door does."""
    if stack.front.tls is None:
        return False, False
    material = stack.front.tls.material
    return material.back_office.asks_for_certificates, material.public.asks_for_certificates


def _given(stack: Stack) -> str:
    """What the calls take from the environment."""
    needed = []
    if stack.asks_for_keys:
        needed.append(f"in {KEY} a key with the scopes ops, backend and wallet")
    if stack.front.tls is not None:
        needed.append(f"in {CA} the file of the certificate's authority")
    if any(_certificates_asked(stack)):
        needed.append(
            f"in {CLIENT_CERTIFICATE} and {CLIENT_CERTIFICATE_KEY} files of a client's certificate and key"
        )
    return f", with {'; '.join(needed)}" if needed else ""


def _curl(stack: Stack, asks_for_certificates: bool) -> str:
    buf = Path(sys.executable).with_name("buf")
    words = [str(buf) if buf.exists() else "buf", "curl --protocol grpc"]
    if stack.front.tls is None:
        words.append("--http2-prior-knowledge")
    else:
        words.append(f'--cacert "${CA}"')
        words.extend(_server_name(stack, stack.front.tls.material))
        if asks_for_certificates:
            words.append(f'--cert "${CLIENT_CERTIFICATE}" --key "${CLIENT_CERTIFICATE_KEY}"')
    if not stack.asks_for_keys:
        return " ".join(words)
    return " ".join([f"{_BY_KEY}{words[0]}", *words[1:], "-H @-"])


def _server_name(stack: Stack, material: Material) -> list[str]:
    """One that the certificate is for, where the address that is called is none."""
    host = beside(stack.front.address.ip)
    if host in material.names or not material.names:
        return []
    return [f"--servername {material.names[0].replace('*', 'any')}"]


def _origin(stack: Stack, target: str) -> str:
    port = int(target.rpartition(":")[2])
    return f"{stack.front.scheme}://{joined(beside(stack.front.address.ip), port)}"
