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
from stepback._averages import ema, online_rna, polyak, rna, swa
from stepback._clip import Clip, clip
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
    QuarantinedError,
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
from stepback._fragments import FragmentInfo, FragmentPart, Fragments, fragments
from stepback._inner_rules import (
    adadelta,
    adafactor,
    adagrad,
    adam,
    adamw,
    adan,
    lamb,
    lars,
    lion,
    muon,
    nadam,
    radam,
    rmsprop,
    sgd,
)
from stepback._local import LocalServer, serve_local
from stepback._model import Model
from stepback._outer_rules import (
    adaptive_lookahead,
    average,
    bmuf,
    bmuf_nbm,
    delayed_nesterov,
    diloco,
    fedadagrad,
    fedadam,
    fedasync,
    fedavg,
    fedavgm,
    fedbuff,
    fedyogi,
    heavy_ball,
    local_sgd,
    lookahead,
    nesterov,
    slowmo,
    snoo,
)
from stepback._push_future import PushFuture
from stepback._quarantine import Quarantine, quarantine
from stepback._rounds import Rounds, Staleness, asynchronous, buffered, staleness, sync
from stepback._rules import Group, RuleSpec, Schedule, group, no_rule, rule, schedule
from stepback._self_averaging_rules import asgd, gpa, schedule_free_adamw, schedule_free_sgd
from stepback._server import Server, connect
from stepback._streaming import StreamingSync
from stepback._types import (
    TLS,
    CodecInfo,
    Health,
    HyperInfo,
    ModelInfo,
    Preset,
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
    "AbortedError",
    "AlreadyExistsError",
    "CancelledError",
    "Clip",
    "CodecInfo",
    "DataLossError",
    "DeadlineExceededError",
    "DetachedError",
    "DrainingError",
    "FailedPreconditionError",
    "FencedError",
    "FingerprintMismatchError",
    "FragmentInfo",
    "FragmentPart",
    "Fragments",
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
    "Preset",
    "PullInfo",
    "PushFuture",
    "PushResult",
    "Quarantine",
    "QuarantinedError",
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
    "Staleness",
    "Statistics",
    "StepResult",
    "StepbackError",
    "StreamingSync",
    "TLS",
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
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamw",
    "adan",
    "adaptive_lookahead",
    "asgd",
    "asynchronous",
    "average",
    "bmuf",
    "bmuf_nbm",
    "buffered",
    "bulyan",
    "clip",
    "connect",
    "coordinate_median",
    "delayed_nesterov",
    "diloco",
    "ema",
    "fedadagrad",
    "fedadam",
    "fedasync",
    "fedavg",
    "fedavgm",
    "fedbuff",
    "fedyogi",
    "fragments",
    "gpa",
    "group",
    "heavy_ball",
    "krum",
    "lamb",
    "lars",
    "lion",
    "local_sgd",
    "lookahead",
    "median_norm_clip",
    "multi_krum",
    "muon",
    "nadam",
    "nesterov",
    "no_rule",
    "online_rna",
    "polyak",
    "quarantine",
    "radam",
    "rmsprop",
    "rna",
    "rule",
    "schedule",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "serve_local",
    "sgd",
    "slowmo",
    "snoo",
    "staleness",
    "swa",
    "sync",
    "trimmed_mean",
]
