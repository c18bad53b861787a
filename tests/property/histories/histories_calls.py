"""Which method takes a request, on channels of either kind, and what an error says."""

from __future__ import annotations

from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from histories_outcomes import Refusal

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub


def writes(public: Any, back_office: Any) -> dict[type, Any]:
    """Give the methods that change a customer, by the type of their requests."""
    credit, ops = CreditServiceStub(public), AdminServiceStub(back_office)
    return {
        admin.CreateCustomerRequest: ops.CreateCustomer,
        admin.UpdateCustomerRequest: ops.UpdateCustomer,
        admin.IssueGrantRequest: ops.IssueGrant,
        admin.ConfirmGrantRequest: ops.ConfirmGrant,
        admin.VoidGrantRequest: ops.VoidGrant,
        admin.ExtendGrantRequest: ops.ExtendGrant,
        admin.RefundGrantRequest: ops.RefundGrant,
        admin.DisputeGrantRequest: ops.DisputeGrant,
        admin.ResolveDisputeRequest: ops.ResolveDispute,
        admin.WriteOffGrantRequest: ops.WriteOffGrant,
        admin.WriteOffDebtRequest: ops.WriteOffDebt,
        pb.ReserveRequest: credit.Reserve,
        pb.ExtendReservationRequest: credit.ExtendReservation,
        pb.CommitReservationRequest: credit.CommitReservation,
        pb.ReleaseReservationRequest: credit.ReleaseReservation,
        pb.ChargeRequest: credit.Charge,
        pb.ReverseChargeRequest: credit.ReverseCharge,
        pb.RefundRequest: credit.Refund,
    }


TURNED_AWAY = "OVERLOADED"
"""Says nothing of the customer: on a loaded machine any call may be, and is sent again."""

PAUSE_SECONDS = 0.1
"""Until it is."""


def refusal_of(error: Any) -> Refusal:
    """Give the reason of an error, and its variables."""
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return Refusal(info.reason, dict(info.metadata))
