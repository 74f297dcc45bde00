"""What calls raise. One class per gRPC status code, and one below it where a program acts on the reason.

StepbackError
  CancelledError
  UnknownError
  InvalidArgumentError        also a ValueError: the request is wrong, fix it
    NonFiniteError            NaN or infinity in a push
  DeadlineExceededError       also a TimeoutError
  NotFoundError               also a LookupError
    ModelNotFoundError
    ModelDeletedError
    NoSessionError
  AlreadyExistsError
    ModelExistsError          another model has the name
  PermissionDeniedError       also a PermissionError
  ResourceExhaustedError      slow down; ``retry_after`` says for how long
  FailedPreconditionError     someone has to act first
    FencedError               a newer session has this worker's id
    FingerprintMismatchError  the tensors are not those of the model
    QuarantinedError          this worker's pushes were not finite; it may join again later
  AbortedError                pull, then go on from there
    StaleBaseError
    RoundDroppedError
    RolledBackError
    ResyncError
    VersionGoneError
    SettingsConflictError
  OutOfRangeError
  UnimplementedError          also a NotImplementedError
  InternalError
  UnavailableError            also a ConnectionError: the server did not answer for ``give_up_after`` seconds
    DrainingError
  DataLossError
  UnauthenticatedError
  DetachedError               also a RuntimeError: this process was forked from the one that holds the
  connection

Each has ``reason`` (one of docs/errors.md, or ""), ``field`` (path of the offending field, or ""),
``metadata`` and ``retry_after`` (seconds, or None).
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Type


class StepbackError(Exception):
    """Base of every error that a server or the SDK's core reports."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        metadata: Optional[Mapping[str, str]] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class CancelledError(StepbackError):
    """The call was cancelled."""


class UnknownError(StepbackError):
    """The other side failed without saying how."""


class InvalidArgumentError(StepbackError, ValueError):
    """The request is wrong whatever the server's state."""


class NonFiniteError(InvalidArgumentError):
    """A push holds NaN or infinity; it has no effect."""


class DeadlineExceededError(StepbackError, TimeoutError):
    """No answer within the time allowed."""


class NotFoundError(StepbackError, LookupError):
    """There is nothing of that name."""


class ModelNotFoundError(NotFoundError):
    """There is no model of that name."""


class ModelDeletedError(NotFoundError):
    """The model was deleted during the call."""


class NoSessionError(NotFoundError):
    """A further rank found no session to attach to."""


class AlreadyExistsError(StepbackError):
    """The name is taken."""


class ModelExistsError(AlreadyExistsError):
    """A model of that name exists with another definition."""


class PermissionDeniedError(StepbackError, PermissionError):
    """This identity may not do that."""


class ResourceExhaustedError(StepbackError):
    """A bound was reached; ``retry_after`` says when to try again."""


class FailedPreconditionError(StepbackError):
    """The call makes sense only after someone has acted."""


class FencedError(FailedPreconditionError):
    """A newer session has this worker's id, or the session was evicted."""


class FingerprintMismatchError(FailedPreconditionError):
    """Names, order, shapes, dtypes or roles of the tensors are not the model's."""


class QuarantinedError(FailedPreconditionError):
    """Too many pushes of this worker in a row were not finite; ``metadata["seconds"]``: until it may join again."""


class AbortedError(StepbackError):
    """The state has moved on: pull, then continue."""


class StaleBaseError(AbortedError):
    """The weights that the push started from are too old."""


class RoundDroppedError(AbortedError):
    """The open round was dropped."""


class RolledBackError(AbortedError):
    """The model was restored from a snapshot."""


class ResyncError(AbortedError):
    """The server knows nothing of the weights that the push started from."""


class VersionGoneError(AbortedError):
    """The version being read was released; read the newest."""


class SettingsConflictError(AbortedError):
    """Someone else changed the settings first."""


class OutOfRangeError(StepbackError):
    """Past the end."""


class UnimplementedError(StepbackError, NotImplementedError):
    """This server cannot do that."""


class InternalError(StepbackError):
    """A promise inside the server or the SDK is broken."""


class UnavailableError(StepbackError, ConnectionError):
    """The server could not be reached."""


class DrainingError(UnavailableError):
    """The server is shutting down."""


class DataLossError(StepbackError):
    """Stored data is damaged."""


class UnauthenticatedError(StepbackError):
    """The caller gave no valid credentials."""


class DetachedError(StepbackError, RuntimeError):
    """A forked process cannot use its parent's connections; start it with ``spawn`` and connect there."""


#: By the canonical code's name.
_BY_CODE: Dict[str, Type[StepbackError]] = {
    "CANCELLED": CancelledError,
    "INVALID_ARGUMENT": InvalidArgumentError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "RESOURCE_EXHAUSTED": ResourceExhaustedError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "ABORTED": AbortedError,
    "OUT_OF_RANGE": OutOfRangeError,
    "UNIMPLEMENTED": UnimplementedError,
    "INTERNAL": InternalError,
    "UNAVAILABLE": UnavailableError,
    "DATA_LOSS": DataLossError,
    "UNAUTHENTICATED": UnauthenticatedError,
}

#: By reason; each stands below the class of the code it comes with.
_BY_REASON: Dict[str, Type[StepbackError]] = {
    "NONFINITE": NonFiniteError,
    "MODEL_NOT_FOUND": ModelNotFoundError,
    "MODEL_DELETED": ModelDeletedError,
    "NO_SESSION": NoSessionError,
    "MODEL_EXISTS": ModelExistsError,
    "FENCED": FencedError,
    "FINGERPRINT_MISMATCH": FingerprintMismatchError,
    "QUARANTINED": QuarantinedError,
    "STALE_BASE": StaleBaseError,
    "ROUND_DROPPED": RoundDroppedError,
    "ROLLED_BACK": RolledBackError,
    "RESYNC": ResyncError,
    "VERSION_GONE": VersionGoneError,
    "SETTINGS_CONFLICT": SettingsConflictError,
    "DRAINING": DrainingError,
}

ALL: List[Type[StepbackError]] = [
    StepbackError,
    UnknownError,
    DetachedError,
    *_BY_CODE.values(),
    *_BY_REASON.values(),
]


def from_status(
    code: str,
    message: str,
    reason: str = "",
    field: str = "",
    metadata: Optional[Mapping[str, str]] = None,
    retry_after: Optional[float] = None,
) -> StepbackError:
    """The exception for a status; a reason with an unexpected code raises the code's class.

    >>> from_status("ABORTED", "base version 3, current 5, staleness_max 1", "STALE_BASE")
    StaleBaseError('base version 3, current 5, staleness_max 1')
    """
    by_code = _BY_CODE.get(code, UnknownError)
    by_reason = _BY_REASON.get(reason, by_code)
    kind = by_reason if issubclass(by_reason, by_code) else by_code
    return kind(message, reason=reason, field=field, metadata=metadata, retry_after=retry_after)
