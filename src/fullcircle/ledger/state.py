"""The state is a fold over facts: who is champion, what is deployed, what exists. Nothing else decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fullcircle.ledger.splits import moved, started
from fullcircle.types.facts import Fact
from fullcircle.types.splits import Split
from fullcircle.types.turn import Snapshot

# Which field of which kind of fact says that a blob was stored. Such a fact also revives a deleted blob.
STORED: Mapping[str, tuple[str, ...]] = {
    "snapshot.created": ("snapshot",),
    "run.finished": ("draft",),
    "report.recorded": ("report",),
    "tests.recorded": ("tests",),
    "bundle.built": ("bundle",),
    "bundle.proven": ("proof",),
    "version.registered": ("provenance", "attestations"),
    "window.monitored": ("window",),
    "decision.taken": ("step",),
    "rows.released": ("rows",),
    "view.registered": ("blob",),
    "training_set.built": ("blob",),
}


@dataclass(frozen=True, kw_only=True)
class VersionState:
    """A registered version and the digests of what it is made of. ``seq`` and ``time`` are its fact's.

    ``approve`` is "person" where somebody has to approve it before it may be promoted. ``provenance`` says what it
    was made of, ``attestations`` are the signed statements about its bundle; "" for versions of before these.
    """

    model: str
    version: int
    run: str
    bundle: str
    report: str
    snapshot: str
    proof: str
    seq: int
    time: str
    approve: str = ""
    provenance: str = ""
    attestations: str = ""


@dataclass(frozen=True, kw_only=True)
class State:
    """What holds after the fact ``seq`` (0: before the first).

    ``history`` is the way back per model: its champions, oldest first, the present one last; a rollback to an earlier
    champion drops those after it. ``promoted`` are all versions that were ever champion, ``promotions`` is the seq of
    the fact that made the present champion and ``crowned`` that fact itself. ``runs`` (by run id, in order of
    finishing) and ``deployments`` (by model, running ones only) are the bodies of their facts, ``decisions``,
    ``releases`` (of rows from quarantine) and ``windows`` the facts themselves in order.
    ``approvals`` are the facts by which versions were approved, per model and version: of several the latest.
    ``reports`` are the facts that recorded reports, per run: of several the latest.
    ``views`` are the definitions of each feature view by their digest, in order of registration, with the blob
    of each; ``published`` the digest of the one that is online; ``training_sets`` the blobs of training sets by what
    they were made from. ``deleted`` holds the digests of blobs that were deleted and not stored again since.
    ``segments`` are the latest facts about closed segments of prediction logs, by workspace, model and segment.
    ``consents`` are the digests of the bundles whose model may run code when it is loaded.
    ``alarms`` says of each alarm (workspace, id) which kinds of facts there are about it.
    ``splits`` are the splits that are open, by model, and ``split_ends`` the facts by which the last ones ended.
    ``experiments`` are the facts by which the last experiments began, by model, ``experiment_ends`` those by which
    experiments ended, by split.
    ``keys`` are the facts by which keys were created, by id, in order; ``revoked`` the ids of revoked ones.
    ``issuers`` are the latest facts about each issuer of tokens, by its name: it was added or removed.
    """

    seq: int = 0
    versions: Mapping[str, Mapping[int, VersionState]] = field(default_factory=dict)
    champions: Mapping[str, int] = field(default_factory=dict)
    history: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    promotions: Mapping[str, int] = field(default_factory=dict)
    crowned: Mapping[str, Fact] = field(default_factory=dict)
    promoted: Mapping[str, frozenset[int]] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deployments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decisions: tuple[Fact, ...] = ()
    releases: tuple[Fact, ...] = ()
    windows: tuple[Fact, ...] = ()
    approvals: Mapping[str, Mapping[int, Fact]] = field(default_factory=dict)
    reports: Mapping[str, Fact] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    training_sets: Mapping[str, str] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    segments: Mapping[tuple[str, str, str], Fact] = field(default_factory=dict)
    consents: frozenset[str] = frozenset()
    alarms: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    split_ends: Mapping[str, Fact] = field(default_factory=dict)
    experiments: Mapping[str, Fact] = field(default_factory=dict)
    experiment_ends: Mapping[str, Fact] = field(default_factory=dict)
    keys: Mapping[str, Fact] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    issuers: Mapping[str, Fact] = field(default_factory=dict)

    def approval(self, model: str, version: int) -> Fact | None:
        """The fact by which somebody approved a version on the report that it has, or None."""
        known = self.versions.get(model, {}).get(version)
        found = self.approvals.get(model, {}).get(version)
        return found if known and found and found.body["report"] == known.report else None

    def experiment(self, model: str) -> Fact | None:
        """The fact by which the experiment of a model began that runs, or None."""
        found = self.experiments.get(model)
        return found if found is not None and found.body["split"] not in self.experiment_ends else None

    def waits(self, model: str, version: int) -> bool:
        """Whether somebody has to approve a version before it may be promoted, and nobody has."""
        known = self.versions.get(model, {}).get(version)
        return known is not None and known.approve == "person" and self.approval(model, version) is None


def fold(facts: Iterable[Fact]) -> State:
    """The state after ``facts``, which begin with the first."""
    folding = Folding()
    for fact in facts:
        folding.add(fact)
    return folding.state()


class Folding:
    """A fold that goes on as facts arrive. Kinds it does not know change nothing."""

    def __init__(self) -> None:
        self._seq = 0
        self._versions: dict[str, dict[int, VersionState]] = {}
        self._history: dict[str, list[int]] = {}
        self._promotions: dict[str, int] = {}
        self._crowned: dict[str, Fact] = {}
        self._promoted: dict[str, set[int]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._runs: dict[str, Mapping[str, Any]] = {}
        self._deployments: dict[str, Mapping[str, Any]] = {}
        self._decisions: list[Fact] = []
        self._releases: list[Fact] = []
        self._windows: list[Fact] = []
        self._approvals: dict[str, dict[int, Fact]] = {}
        self._reports: dict[str, Fact] = {}
        self._views: dict[str, dict[str, str]] = {}
        self._published: dict[str, str] = {}
        self._training_sets: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._segments: dict[tuple[str, str, str], Fact] = {}
        self._consents: set[str] = set()
        self._alarms: dict[tuple[str, str], tuple[str, ...]] = {}
        self._splits: dict[str, Split] = {}
        self._split_ends: dict[str, Fact] = {}
        self._experiments: dict[str, Fact] = {}
        self._experiment_ends: dict[str, Fact] = {}
        self._keys: dict[str, Fact] = {}
        self._revoked: set[str] = set()
        self._issuers: dict[str, Fact] = {}

    def add(self, fact: Fact) -> None:
        """Take the next fact in."""
        self._seq = fact.seq
        body = fact.body
        for name in STORED.get(fact.kind, ()):
            self._deleted.discard(str(body.get(name)))
        match fact.kind:
            case "snapshot.created":
                self._snapshot(fact)
            case "run.finished":
                self._runs.pop(body["run"], None)
                self._runs[body["run"]] = body
            case "report.recorded":
                self._reports[str(body.get("run") or "")] = fact
            case "version.registered":
                self._version(fact)
            case "version.approved":
                self._approvals.setdefault(body["model"], {})[body["version"]] = fact
            case "version.promoted" | "version.rolled_back":
                self._champion(fact)
            case "decision.taken":
                self._decisions.append(fact)
            case "rows.released":
                self._releases.append(fact)
            case "deployment.started" if body.get("url"):  # what has no address does not answer: files, a schedule
                self._deployments[body["model"]] = body
            case "deployment.stopped":
                self._stopped(body)
            case "window.monitored":
                self._windows.append(fact)
            case "alarm.raised" | "alarm.resolved" | "alarm.acknowledged" if body.get("alarm"):
                alarm = str(body.get("workspace") or ""), str(body["alarm"])
                self._alarms[alarm] = (*self._alarms.get(alarm, ()), fact.kind)
            case "view.registered":
                known = self._views.setdefault(body["view"], {})
                known.pop(body["definition"], None)
                known[body["definition"]] = body["blob"]
            case "view.published":
                self._published[body["view"]] = body["definition"]
            case "training_set.built":
                self._training_sets[body["key"]] = body["blob"]
            case "segment.closed" | "segment.compacted" | "predictions.erased":
                self._segments[body["workspace"], body["model"], body["segment"]] = fact
            case "pickle.allowed" if body.get("bundle"):
                self._consents.add(str(body["bundle"]))
            case "split.started" | "split.moved" | "split.ended":
                self._split(fact)
            case "experiment.started":
                self._experiments[str(body["model"])] = fact
            case "experiment.stopped":
                self._experiment_ends.setdefault(str(body["split"]), fact)
            case "key.created":
                self._keys.setdefault(str(body["id"]), fact)  # an id that was used is never another key
            case "key.revoked":
                self._revoked.add(str(body["id"]))
            case "issuer.added" | "issuer.removed":
                self._issuers[str(body["issuer"])] = fact
            case "blob.deleted":
                self._deleted.add(body["digest"])

    def _stopped(self, body: Mapping[str, Any]) -> None:
        started = self._deployments.get(body["model"], {})
        if body.get("target", started.get("target")) == started.get("target"):
            self._deployments.pop(body["model"], None)

    def state(self) -> State:
        """The state by now; later facts do not change it."""
        versions = {model: MappingProxyType(dict(known)) for model, known in self._versions.items()}
        approvals = {model: MappingProxyType(dict(known)) for model, known in self._approvals.items()}
        return State(
            seq=self._seq,
            versions=MappingProxyType(versions),
            champions=MappingProxyType({model: numbers[-1] for model, numbers in self._history.items()}),
            history=MappingProxyType({model: tuple(numbers) for model, numbers in self._history.items()}),
            promotions=MappingProxyType(dict(self._promotions)),
            crowned=MappingProxyType(dict(self._crowned)),
            promoted=MappingProxyType({model: frozenset(numbers) for model, numbers in self._promoted.items()}),
            snapshots=MappingProxyType(dict(self._snapshots)),
            runs=MappingProxyType(dict(self._runs)),
            deployments=MappingProxyType(dict(self._deployments)),
            decisions=tuple(self._decisions),
            releases=tuple(self._releases),
            windows=tuple(self._windows),
            approvals=MappingProxyType(approvals),
            reports=MappingProxyType(dict(self._reports)),
            views=MappingProxyType({name: dict(known) for name, known in self._views.items()}),
            published=MappingProxyType(dict(self._published)),
            training_sets=MappingProxyType(dict(self._training_sets)),
            deleted=frozenset(self._deleted),
            segments=MappingProxyType(dict(self._segments)),
            consents=frozenset(self._consents),
            alarms=MappingProxyType(dict(self._alarms)),
            splits=MappingProxyType(dict(self._splits)),
            split_ends=MappingProxyType(dict(self._split_ends)),
            experiments=MappingProxyType(dict(self._experiments)),
            experiment_ends=MappingProxyType(dict(self._experiment_ends)),
            keys=MappingProxyType(dict(self._keys)),
            revoked=frozenset(self._revoked),
            issuers=MappingProxyType(dict(self._issuers)),
        )

    def _snapshot(self, fact: Fact) -> None:
        body = fact.body
        known = self._snapshots.get(body["snapshot"])
        self._snapshots[body["snapshot"]] = Snapshot(
            digest=body["snapshot"],
            rows=int(body.get("rows") or 0),
            columns=int(body.get("columns") or 0),
            source=str(body.get("source") or ""),
            parent=body.get("parent"),
            created=known.created if known else fact.time,
        )

    def _split(self, fact: Fact) -> None:
        model, id = str(fact.body["model"]), str(fact.body["split"])
        known = self._splits.get(model)
        if fact.kind == "split.started":
            self._splits[model] = started(fact)
        elif known is None or known.id != id:
            return  # of two that ended it at once, the second
        elif fact.kind == "split.moved":
            self._splits[model] = moved(known, fact)
        else:
            del self._splits[model]
            self._split_ends[model] = fact

    def _version(self, fact: Fact) -> None:
        body = fact.body
        names = ("run", "bundle", "report", "snapshot", "proof", "approve", "provenance", "attestations")
        parts = {name: str(body.get(name) or "") for name in names}
        # The first fact about a number holds: what is champion under it must never become another bundle.
        self._versions.setdefault(body["model"], {}).setdefault(
            body["version"],
            VersionState(model=body["model"], version=body["version"], seq=fact.seq, time=fact.time, **parts),
        )

    def _champion(self, fact: Fact) -> None:
        model, version = fact.body["model"], fact.body["version"]
        numbers = self._history.setdefault(model, [])
        if fact.kind == "version.rolled_back" and version in numbers:
            last = len(numbers) - 1 - numbers[::-1].index(version)
            del numbers[last + 1 :]
        elif not numbers or numbers[-1] != version:
            numbers.append(version)
        self._promotions[model] = fact.seq
        self._crowned[model] = fact
        self._promoted.setdefault(model, set()).add(version)
