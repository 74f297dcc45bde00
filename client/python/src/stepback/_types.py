"""What the server says, as plain values. The core builds them by keyword: names here are the core's too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple

from stepback._clip import Clip
from stepback._quarantine import Quarantine
from stepback._fragments import FragmentInfo, Fragments
from stepback._rounds import Rounds
from stepback._rules import Group, RuleSpec, Schedule


@dataclass(frozen=True, order=True)
class Version:
    """A version of a model's weights, ordered by (term, counter). Term 0: no version.

    >>> Version(1, 9) < Version(2, 0), str(Version(1, 9)), bool(Version())
    (True, '1.9', False)
    """

    term: int = 0
    counter: int = 0

    def __bool__(self) -> bool:
        return self.term != 0

    def __str__(self) -> str:
        return f"{self.term}.{self.counter}"


@dataclass(frozen=True)
class TensorInfo:
    """One entry of a model's tensor table."""

    name: str
    shape: Tuple[int, ...]
    dtype: str = "f32"  # f32 f64 f16 bf16 i8 i16 i32 i64 u8 bool: the trainer's
    role: str = "trained"  # trained averaged carried frozen

    @property
    def elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class Settings:
    """What the server tells workers, and may change while they run."""

    settings_version: int
    mode: str
    sync_period: int  # in force at the version pulled last
    inner: RuleSpec
    outer: RuleSpec
    inner_state: str
    rounds: Rounds
    groups: Tuple[Group, ...] = ()
    clip: Clip = field(default_factory=Clip)
    takes_weights: bool = False  # pushes hold the weights, not their difference from the base (fedasync)
    fragments: int = 0  # how many; 0: the model syncs as a whole
    overlap_steps: int = 0
    mixing: float = 0.0


@dataclass(frozen=True)
class Health:
    """The worker's own numbers, shown as gauges; any may be absent. Never used in a decision."""

    train_loss: Optional[float] = None
    tokens: Optional[float] = None
    tokens_per_second: Optional[float] = None
    gradient_norm: Optional[float] = None
    inner_learning_rate: Optional[float] = None
    compute_seconds: Optional[float] = None
    wait_seconds: Optional[float] = None


@dataclass(frozen=True)
class PushResult:
    """The server's decision about a push."""

    # applied; buffered: in the open round; skipped: an overflow; resynced: not merged, pull and go on.
    outcome: str
    duplicate: bool
    version: Version
    sequence: int
    durable_sequence: int
    reason: str  # in words: "1 of 2 workers"
    staleness: int
    settings_version: int
    inner_steps: int
    outer_steps: int
    samples: int
    finished: bool
    loss_scale: float
    local_steps: int = 0  # to run before the next push (delta mode); 0: the worker's own choice


@dataclass(frozen=True)
class PullInfo:
    """Which version a pull or step brought."""

    version: Version
    modified: bool
    durable: bool
    settings_version: int
    inner_steps: int
    outer_steps: int
    samples: int
    finished: bool
    payload_bytes: int
    difference: str = ""  # form of the differences that came; empty: everything came


@dataclass(frozen=True)
class StepResult:
    """How a step went: the push, and the weights that came back."""

    outcome: str  # applied, skipped, resynced
    push: PushResult
    pull: PullInfo
    wait_seconds: float


@dataclass(frozen=True)
class Statistics:
    """Counters of one worker since it joined."""

    pushes: int
    pulls: int
    steps: int
    duplicates: int
    resyncs: int
    reconnects: int
    replays: int
    flushes: int  # snapshots that a push waited for, and the one of leaving
    heartbeats: int
    payload_bytes_sent: int
    payload_bytes_received: int
    wire_bytes_sent: int
    wire_bytes_received: int
    replay_bytes: int
    difference_pulls: int = 0  # of `pulls`, those that came as differences


@dataclass(frozen=True)
class ModelInfo:
    """A model as the server sees it."""

    name: str
    tensors: Tuple[TensorInfo, ...]  # empty in listings
    mode: str
    inner: Optional[RuleSpec]
    outer: Optional[RuleSpec]
    sync_period: int
    inner_state: str
    rounds: Rounds
    clip: Clip
    groups: Tuple[Group, ...]
    durability: str
    description: str
    labels: Mapping[str, str]
    version: Version
    durable_version: Version
    settings_version: int
    fingerprint: str  # SHA-256 of the tensor table, hex
    parameters: int
    inner_steps: int
    outer_steps: int
    samples: int
    sessions: int
    created_at: float  # seconds since 1970
    finished: bool
    state_bytes: int
    state_hash: str
    unhealthy_reason: str
    averages: Mapping[str, RuleSpec] = field(default_factory=dict)
    sync_period_schedule: Optional[Schedule] = None
    fragments: Tuple[FragmentInfo, ...] = ()


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot on the server's disk."""

    model: str
    generation: int
    label: str
    version: Version
    created_at: float
    bytes: int
    inner_steps: int
    outer_steps: int
    samples: int


@dataclass(frozen=True)
class SessionInfo:
    """A worker or reader of a model."""

    model: str
    client_id: str
    role: str  # trainer, reader
    epoch: int
    last_sequence: int
    durable_sequence: int
    lease_remaining_seconds: float
    quarantine_remaining_seconds: float  # not 0: thrown out, without a session
    contributed: bool
    pushes: int
    staleness: int
    health: Health


@dataclass(frozen=True)
class ServerInfo:
    """What the server is and runs on."""

    version: str
    revision: str
    devices: Tuple[str, ...]
    features: Tuple[str, ...]
    protocol_version: int
    grpc_version: str
    uptime_seconds: float
    draining: bool
    compute_threads: int


@dataclass(frozen=True)
class HyperInfo:
    """One hyperparameter of a rule, with its bounds."""

    name: str
    default: float
    min: float
    max: float
    min_open: bool
    max_open: bool
    integer: bool
    doc: str


@dataclass(frozen=True)
class RuleInfo:
    """A rule that the server knows."""

    name: str
    kind: str  # inner, outer
    citation: str
    hypers: Tuple[HyperInfo, ...]
    slots: Tuple[str, ...]
    bytes_per_parameter: int
    eval_slot: str = ""  # what readers of the eval view get; empty: the weights
    takes_weights: bool = False  # pushes hold weights, not deltas


@dataclass(frozen=True)
class CodecInfo:
    """A wire form of numbers."""

    name: str
    block_elements: int
    error_bound: str


@dataclass(frozen=True)
class Preset:
    """A published algorithm by name: what to give ``create_model``."""

    name: str
    doc: str
    citation: str
    outer: RuleSpec
    mode: str  # empty: either
    sync_period: int  # recommended; 0: the source names none
    rounds: Rounds  # policy, and the staleness weight of those that do not wait


@dataclass(frozen=True)
class RuleList:
    """Every rule, codec and preset of a server."""

    rules: Tuple[RuleInfo, ...]
    codecs: Tuple[CodecInfo, ...]
    presets: Tuple[Preset, ...] = ()

    def __getitem__(self, name: str) -> RuleInfo:
        for rule in self.rules:
            if rule.name == name:
                return rule
        raise KeyError(name)


@dataclass(frozen=True)
class VersionEvent:
    """A change of the published version."""

    version: Version
    durable_version: Version
    settings_version: int
    finished: bool


@dataclass(frozen=True)
class TLS:
    """Credentials of a connection; PEM files. ``cert_file`` with ``key_file`` is mutual TLS."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""


@dataclass(frozen=True)
class Definition:
    """All of a model but its weights: what ``create_model`` sends."""

    name: str
    tensors: Tuple[TensorInfo, ...]
    groups: Tuple[Group, ...] = ()
    mode: str = "delta"
    inner: Optional[RuleSpec] = None
    outer: Optional[RuleSpec] = None
    sync_period: int = 0
    inner_state: str = "keep"
    rounds: Rounds = field(default_factory=Rounds)
    durability: str = "round"
    snapshot_interval_seconds: float = 0.0
    lease_seconds: float = 0.0
    staging_bytes: int = 0
    max_live_versions: int = 0
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    finish_after_steps: int = 0
    finish_after_samples: int = 0
    clip: Clip = field(default_factory=Clip)
    averages: Mapping[str, RuleSpec] = field(default_factory=dict)
    sync_period_schedule: Optional[Schedule] = None
    fragments: Optional[Fragments] = None
    expected_push_bytes_per_s: float = 0.0
    quarantine: Quarantine = field(default_factory=Quarantine)
