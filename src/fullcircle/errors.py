"""Every error a user can meet, in one place.

Each class is one cause, carries a stable string ``code``, and says four things: what is wrong, what was
received, what is allowed, and what to do next. ``exit_code`` is what a command ends with: 2 is wrong use or
a broken surrounding, 1 is a check or gate that said no. Doors (command line, HTTP) map errors once; nothing
here knows of any of them. ``docs/errors.md`` lists every code (a test compares the two).
"""

from __future__ import annotations

from typing import ClassVar


class FullcircleError(Exception):
    """The base of all errors raised on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        what: str,
        *,
        received: object = None,
        allowed: object = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.received = None if received is None else str(received)
        self.allowed = None if allowed is None else str(allowed)
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.received is not None:
            parts.append(f"received: {self.received}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.next_step is not None:
            parts.append(f"next: {self.next_step}")
        return "\n  ".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The one JSON shape: ``code``, ``message`` and, where known, ``received``, ``allowed``, ``next``."""
        found = {
            "code": self.code,
            "message": self.what,
            "received": self.received,
            "allowed": self.allowed,
            "next": self.next_step,
        }
        return {key: value for key, value in found.items() if value is not None}


# --- what a user writes -------------------------------------------------------------------------------


class ProjectNotFound(FullcircleError, FileNotFoundError):
    """There is no project file at the path given."""

    code = "project_not_found"


class ProjectInvalid(FullcircleError, ValueError):
    """The project file does not run, holds no project, or declares something that cannot work."""

    code = "project_invalid"


class SettingInvalid(FullcircleError, ValueError):
    """A setting has an unknown name or a value that is not allowed."""

    code = "setting_invalid"


class MissingExtra(FullcircleError, ImportError):
    """A library that an optional part needs is not installed."""

    code = "missing_extra"


class PluginUnknown(FullcircleError, LookupError):
    """No runtime, check, detector, store or target has this name."""

    code = "plugin_unknown"


class PluginBroken(FullcircleError, ImportError):
    """A plug-in was found by name and could not be loaded."""

    code = "plugin_broken"


# --- data ---------------------------------------------------------------------------------------------


class TableNotFound(FullcircleError, FileNotFoundError):
    """The file behind a table does not exist."""

    code = "table_not_found"


class TableUnreadable(FullcircleError, ValueError):
    """The file behind a table is empty, broken or not of a kind that can be read."""

    code = "table_unreadable"


class ColumnMissing(FullcircleError, LookupError):
    """A column that the project names is not in the data."""

    code = "column_missing"


class DataUnfit(FullcircleError, ValueError):
    """The data can be read and cannot be learned from: no rows, one class, no label, a column of no type."""

    code = "data_unfit"


class SnapshotNotFound(FullcircleError, LookupError):
    """No snapshot has this digest or name."""

    code = "snapshot_not_found"


# --- features -----------------------------------------------------------------------------------------


class FeatureInvalid(FullcircleError, ValueError):
    """A feature table, a feature or a view is declared in a way that cannot work."""

    code = "feature_invalid"


class FunctionRefused(FullcircleError, ValueError):
    """An on-demand function uses what it does not bring along, or answers a batch and single rows differently."""

    code = "function_refused"


class ViewNotFound(FullcircleError, LookupError):
    """No feature view, or no feature table, has this name or definition."""

    code = "view_not_found"


class ViewNotPublished(FullcircleError, LookupError):
    """The online store does not hold what this definition of a view needs."""

    code = "view_not_published"


class DefinitionChanged(FullcircleError, ValueError):
    """A feature table is declared otherwise than it was when its first rows were appended."""

    code = "definition_changed"


class BatchConflict(FullcircleError, ValueError):
    """A batch of this id was appended before, with other rows."""

    code = "batch_conflict"


class EngineFailed(FullcircleError, RuntimeError):
    """An offline engine could not join."""

    code = "engine_failed"


class OnlineStoreUnavailable(FullcircleError, RuntimeError):
    """The online store could not be reached, or is busy."""

    code = "online_store_unavailable"


# --- models -------------------------------------------------------------------------------------------


class FitFailed(FullcircleError, RuntimeError):
    """The project's ``fit`` raised, or returned something that cannot predict."""

    code = "fit_failed"


class PredictionInvalid(FullcircleError, ValueError):
    """A model answered with the wrong number of predictions, or with NaN or infinity."""

    code = "prediction_invalid"


class ModelRefused(FullcircleError, TypeError):
    """A model contains a type that may not be packaged, because loading it could run code."""

    code = "model_refused"


class AlarmNotFound(FullcircleError, LookupError):
    """No alarm of this model has this id."""

    code = "alarm_not_found"


class RunNotFound(FullcircleError, LookupError):
    """No run has this id."""

    code = "run_not_found"


class VersionNotFound(FullcircleError, LookupError):
    """A model has no such version, or no champion yet."""

    code = "version_not_found"


class PredictionNotFound(FullcircleError, LookupError):
    """No logged prediction has this id."""

    code = "prediction_not_found"


class KeyNotFound(FullcircleError, LookupError):
    """There is no such key, or it was revoked."""

    code = "key_not_found"


class ApprovalRefused(FullcircleError, PermissionError):
    """Whoever approves has no valid key of an approver, or trained the version."""

    code = "approval_refused"
    exit_code = 1


class ApprovalMissing(FullcircleError):
    """A version that a person has to approve was asked to be promoted before anybody did."""

    code = "approval_missing"
    exit_code = 1


class GateFailed(FullcircleError):
    """A version did not pass its gates or its tests, and was asked to be registered or promoted."""

    code = "gate_failed"
    exit_code = 1


# --- the package --------------------------------------------------------------------------------------


class BundleInvalid(FullcircleError, ValueError):
    """A bundle is damaged, incomplete or altered. Nothing of it was loaded."""

    code = "bundle_invalid"


class BundleTooNew(FullcircleError, ValueError):
    """A bundle was written by a newer fullcircle. It was left untouched."""

    code = "bundle_too_new"


class LockFailed(FullcircleError, RuntimeError):
    """The environment could not be locked or built."""

    code = "lock_failed"


class ProofFailed(FullcircleError, RuntimeError):
    """The bundle answered its golden rows differently in its own environment."""

    code = "proof_failed"
    exit_code = 1


class NotReproducible(FullcircleError, RuntimeError):
    """A version cannot be built again: a part of what it was made of is gone, or was never noted."""

    code = "not_reproducible"


class NeedUnmet(FullcircleError, RuntimeError):
    """Something that a model needs at run time is not there where it is to run: see ``fullcircle doctor``."""

    code = "need_unmet"
    exit_code = 1


# --- the workspace ------------------------------------------------------------------------------------


class WorkspaceUnusable(FullcircleError, OSError):
    """The workspace cannot be read or written."""

    code = "workspace_unusable"


class WorkspaceTooNew(FullcircleError, RuntimeError):
    """The workspace was written by a newer fullcircle. It was left untouched."""

    code = "workspace_too_new"


class WorkspaceBusy(FullcircleError, TimeoutError):
    """Another process kept the ledger locked for too long."""

    code = "workspace_busy"


class FactInvalid(FullcircleError, ValueError):
    """A fact has an unknown kind or field. This is a defect of the program that wrote it."""

    code = "fact_invalid"


class LedgerBroken(FullcircleError, RuntimeError):
    """The ledger's chain does not hold: see ``fullcircle audit``."""

    code = "ledger_broken"
    exit_code = 1


class StateConflict(FullcircleError, RuntimeError):
    """What was asked no longer fits the state: another process was faster."""

    code = "state_conflict"


class BlobMissing(FullcircleError, LookupError):
    """A blob is not in the store, or was deleted on purpose."""

    code = "blob_missing"


class BlobCorrupt(FullcircleError, ValueError):
    """A blob's content does not match its digest. It was not used."""

    code = "blob_corrupt"


class TrackingUnavailable(FullcircleError, RuntimeError):
    """MLflow's store could not be reached, or is of an unfit version."""

    code = "tracking_unavailable"


# --- serving ------------------------------------------------------------------------------------------


class PortInUse(FullcircleError, OSError):
    """Another program listens on the port."""

    code = "port_in_use"


class ServerFailed(FullcircleError, RuntimeError):
    """The server process ended, or did not become ready in time."""

    code = "server_failed"


class TargetRefused(FullcircleError, ValueError):
    """A target cannot make what was asked: a value that cannot stand in a file, or a folder of somebody else."""

    code = "target_refused"


class RehearsalFailed(FullcircleError, RuntimeError):
    """A process that plays history failed, or died twice."""

    code = "rehearsal_failed"


class ScoringFailed(FullcircleError, RuntimeError):
    """Scoring a file could not go on: a worker process died, or another process writes the same result."""

    code = "scoring_failed"


class RequestInvalid(FullcircleError, ValueError):
    """A request could not be understood. HTTP doors answer 400, 413 or 415."""

    code = "request_invalid"

    def __init__(
        self,
        what: str,
        *,
        received: object = None,
        allowed: object = None,
        next_step: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(what, received=received, allowed=allowed, next_step=next_step)
        self.status = status


class HostRefused(FullcircleError, ValueError):
    """A request was addressed to a name that this server does not go by. HTTP doors answer 421."""

    code = "host_refused"


class Unauthorized(FullcircleError, PermissionError):
    """A request came without a key that is valid. HTTP doors answer 401."""

    code = "unauthorized"


class Forbidden(FullcircleError, PermissionError):
    """Whoever asks is known, and may not do this. HTTP doors answer 403."""

    code = "forbidden"


class RateLimited(FullcircleError, RuntimeError):
    """More was asked than the key may ask, or keys were guessed. HTTP doors answer 429 with Retry-After."""

    code = "rate_limited"

    def __init__(
        self,
        what: str,
        *,
        received: object = None,
        allowed: object = None,
        next_step: str | None = None,
        seconds: int = 1,
    ) -> None:
        super().__init__(what, received=received, allowed=allowed, next_step=next_step)
        self.seconds = seconds


class ModelNotServed(FullcircleError, LookupError):
    """The server has no model of this name. HTTP doors answer 404."""

    code = "model_not_served"


class ServerBusy(FullcircleError, RuntimeError):
    """The server is overloaded, draining or not ready. HTTP doors answer 503 with Retry-After.

    ``cause`` is one word for the metrics: overload, not_ready, log, lookup, breaker, draining.
    """

    code = "server_busy"

    def __init__(
        self,
        what: str,
        *,
        received: object = None,
        allowed: object = None,
        next_step: str | None = None,
        cause: str = "overload",
    ) -> None:
        super().__init__(what, received=received, allowed=allowed, next_step=next_step)
        self.cause = cause
