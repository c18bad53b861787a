"""Errors of the service: one tree, of which each part defines its own leaves.

    LedgerError
        ClientError
            BrokenFieldError
            RecordsError
            RowFileError
            UnknownCardError
        FaultError
        NotNowError
            AbandonedError
            BooksBehindError
            KeyLimitError
            KeysOutdatedError
            LinkDownError
            MarginUnknownError
            OtherHistoryError
            OverloadedError
            OverridesUnreadableError
            SimulationFailedError
            StandbyError
            TooManyReportsError
            UnavailableError
        OperatorError
            BackupError
            BackupRefusedError
            MigrationRefusedError
            ProgramError
            RoleTooStrongError
            ScopeMissingError
            SettingsError
        RequestError
            AddressRefusedError
            CustomerExistsError
            CustomerNotFoundError
            InvalidArgumentError
            KeyEndedError
            KeyRefusedError
            MarginBelowFloorError
            MonthNotBegunError
            PlansInUseError
            ReportOutdatedError
            RequestIdReusedError
            RequestReusedError
            RevisionRefusedError
            ScopeRequiredError
            StatusError
            TooManyWebhooksError
            UnauthenticatedError
            UnknownCustomerError
            UnknownKeyError
            UnknownVersionError
            UnknownWebhookError
            WebhookRequestReusedError
        WriteError
            RepeatedRequestError
            UnknownOutcomeError
            WriteRefusedError

Which status a caller gets of one says `ledger.api.errors` alone. What the books refuse a customer is no error
but a value (`ledger.books.Refusal`); what they and `pricing` raise is their own.
"""

from __future__ import annotations


class LedgerError(Exception):
    """Whatever this service raises by itself."""


class RequestError(LedgerError):
    """What was asked for has no effect, and asked again in the same words it has none either."""


class NotNowError(LedgerError):
    """The same may succeed later: something is away, behind, or asked for more than it can do."""


class OperatorError(LedgerError):
    """The service or its database is not set up as it has to be: what is in the way, and what to do."""


class ClientError(LedgerError):
    """What a client or its user has to mend: a call that failed, a file that cannot be read."""
