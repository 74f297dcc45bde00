"""Optimizers as a service: a server that owns the slow weights of models in training.

::

    import stepback

    with stepback.connect("localhost:7400") as server:
        model = server.create_model("lm", weights, outer=stepback.diloco(), rounds=stepback.sync(quorum=2))
        with model.join("worker-0") as worker:
            weights = worker.pull()
            for _ in range(rounds):
                weights = worker.step(train(weights))

``stepback.torch`` has ``Lookahead`` and ``DiLoCo``; ``stepback.serve_local()`` starts a server in this
process.
"""

import importlib as _importlib
from pkgutil import extend_path as _extend_path
from typing import Any as _Any

from stepback._aggregators import (
    bulyan,
    coordinate_median,
    krum,
    median_norm_clip,
    multi_krum,
    trimmed_mean,
)
from stepback._errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    DetachedError,
    DrainingError,
    FailedPreconditionError,
    FencedError,
    FingerprintMismatchError,
    InternalError,
    InvalidArgumentError,
    ModelDeletedError,
    ModelExistsError,
    ModelNotFoundError,
    NonFiniteError,
    NoSessionError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ResyncError,
    RolledBackError,
    RoundDroppedError,
    SettingsConflictError,
    StaleBaseError,
    StepbackError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    VersionGoneError,
)
from stepback._local import LocalServer, serve_local
from stepback._model import Model
from stepback._rounds import Rounds, asynchronous, buffered, sync
from stepback._rules import (
    Group,
    RuleSpec,
    Schedule,
    adam,
    adamw,
    average,
    diloco,
    group,
    heavy_ball,
    local_sgd,
    lookahead,
    nesterov,
    no_rule,
    rule,
    sgd,
    snoo,
)
from stepback._server import Server, connect
from stepback._types import (
    TLS,
    CodecInfo,
    Health,
    HyperInfo,
    ModelInfo,
    PullInfo,
    PushResult,
    RuleInfo,
    RuleList,
    ServerInfo,
    SessionInfo,
    Settings,
    SnapshotInfo,
    Statistics,
    StepResult,
    TensorInfo,
    Version,
    VersionEvent,
)
from stepback._weights import Weights
from stepback._worker import Worker

__version__ = "0.1.0"

# Code that protoc generated from the proto is called stepback.v1: on the path, it is found beside this.
__path__ = _extend_path(__path__, __name__)


def __getattr__(name: str) -> _Any:
    """``stepback.torch`` without its own import; torch is loaded at the first use."""
    if name == "torch":
        return _importlib.import_module("stepback.torch")
    raise AttributeError(f"module 'stepback' has no attribute {name!r}")


__all__ = [
    "TLS",
    "AbortedError",
    "AlreadyExistsError",
    "CancelledError",
    "CodecInfo",
    "DataLossError",
    "DeadlineExceededError",
    "DetachedError",
    "DrainingError",
    "FailedPreconditionError",
    "FencedError",
    "FingerprintMismatchError",
    "Group",
    "Health",
    "HyperInfo",
    "InternalError",
    "InvalidArgumentError",
    "LocalServer",
    "Model",
    "ModelDeletedError",
    "ModelExistsError",
    "ModelInfo",
    "ModelNotFoundError",
    "NoSessionError",
    "NonFiniteError",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "PullInfo",
    "PushResult",
    "ResourceExhaustedError",
    "ResyncError",
    "RolledBackError",
    "RoundDroppedError",
    "Rounds",
    "RuleInfo",
    "RuleList",
    "RuleSpec",
    "Schedule",
    "Server",
    "ServerInfo",
    "SessionInfo",
    "Settings",
    "SettingsConflictError",
    "SnapshotInfo",
    "StaleBaseError",
    "Statistics",
    "StepResult",
    "StepbackError",
    "TensorInfo",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "Version",
    "VersionEvent",
    "VersionGoneError",
    "Weights",
    "Worker",
    "__version__",
    "adam",
    "adamw",
    "asynchronous",
    "average",
    "buffered",
    "bulyan",
    "connect",
    "coordinate_median",
    "diloco",
    "group",
    "heavy_ball",
    "krum",
    "local_sgd",
    "lookahead",
    "median_norm_clip",
    "multi_krum",
    "nesterov",
    "no_rule",
    "rule",
    "serve_local",
    "sgd",
    "snoo",
    "sync",
    "trimmed_mean",
]
