"""Checks of needs: bounded in time, timed, never raising, and without a secret in what they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from statistics import median

from fullcircle.deployment.needs import features, local, servers, sql, web
from fullcircle.deployment.needs.outcome import Met, Unmet
from fullcircle.deployment.needs.places import unpathed
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Checked, Need, satisfies

LIMIT = 5.0  # seconds for one need, where its ``within`` does not ask for more
TIMES = 3  # answers that are timed where ``within`` bounds them; their median counts


class Checker:
    """Checks needs from this process. One thread at a time; every need is asked in a thread of its own.

    ``online`` is the URL of the online store, ``views`` the feature view of each need that looks for one. What hangs
    where nothing can end it (a name service, a network disk) is left behind: as long as it hangs, its need is failed
    without being asked again.
    """

    def __init__(self, *, online: str = "", view: ViewSpec | None = None, limit: float = LIMIT) -> None:
        self._online, self._view, self._limit = online, view, limit
        self._hanging: dict[Need, _Attempt] = {}

    def check(self, needs: Iterable[Need]) -> tuple[Checked, ...]:
        """What became of each need, in their order; all are asked at once. Never raises."""
        begun = [(need, bound(need, self._limit), self._begin(need)) for need in needs]
        start = time.monotonic()
        return tuple(self._end(need, attempt, start, seconds) for need, seconds, attempt in begun)

    def _begin(self, need: Need) -> _Attempt:
        hanging = self._hanging.get(need)
        if hanging is not None and not hanging.ended:
            return hanging
        self._hanging.pop(need, None)
        return _Attempt(lambda: self._looked(need))

    def _end(self, need: Need, attempt: _Attempt, start: float, seconds: float) -> Checked:
        old = need in self._hanging
        if not attempt.wait(0.0 if old else start + seconds - time.monotonic()):
            self._hanging[need] = attempt
            what = "the check before still hangs" if old else f"no answer within {seconds:g} seconds"
            slow = "see that it runs and can be reached; a name service or a network disk may be what hangs"
            return _checked(need, "failed", what, next_step=slow, seconds=seconds)
        return attempt.result

    def _looked(self, need: Need) -> Checked:
        try:
            found, seconds = self._timed(need)
        except Unmet as unmet:
            return _checked(
                need, "failed", unmet.what, received=unmet.received, allowed=unmet.allowed, next_step=unmet.next_step
            )
        except Exception as error:  # noqa: BLE001 - a check never raises; the words of a stranger may hold a secret
            return _checked(
                need,
                "failed",
                f"the check itself broke: {type(error).__name__}",
                next_step="ask by hand; if that works, this is a defect of fullcircle",
            )
        return _judged(need, found, seconds)

    def _timed(self, need: Need) -> tuple[Met, float]:
        """Ask once, or several times where somebody wants to know how long it takes; the median in seconds."""
        taken = []
        for _ in range(TIMES if need.within else 1):
            begun = time.perf_counter()
            found = self._look(need)
            taken.append(time.perf_counter() - begun)
        return found, median(taken)

    def _look(self, need: Need) -> Met:
        if need.kind == "features":
            return features.look(need, self._online, self._view)
        seconds = max(self._limit, need.seconds)
        return _LOOKS[need.kind](need, seconds)


_LOOKS: dict[str, Callable[[Need, float], Met]] = {
    "database": sql.look,
    "url": web.look,
    "secret": local.secret,
    "file": local.file,
    "mlflow": servers.mlflow,
    "h2o": servers.h2o,
}


class _Attempt:
    """One look in a thread that nobody has to wait for."""

    def __init__(self, work: Callable[[], Checked]) -> None:
        self._done = threading.Event()
        self._result: list[Checked] = []

        def run() -> None:
            try:
                self._result.append(work())
            finally:
                self._done.set()

        threading.Thread(target=run, name="fullcircle-need", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether it came back."""
        return self._done.is_set()

    @property
    def result(self) -> Checked:
        """What it found."""
        return self._result[0]

    def wait(self, seconds: float) -> bool:
        """Wait so long; whether it came back."""
        return self._done.wait(max(seconds, 0.0))


def bound(need: Need, limit: float = LIMIT) -> float:
    """Seconds that the check of a need may take in all."""
    return max(limit, TIMES * need.seconds + 1.0) if need.within else limit


def _judged(need: Need, found: Met, seconds: float) -> Checked:
    told = found.what + (f" (version {found.version})" if found.version else "")
    if need.version and found.version and not satisfies(found.version, need.version):
        return _checked(
            need, "failed", "its version is none that was asked for", received=found.version, allowed=need.version,
            next_step="bring it to such a version, or change version in requires and try the model with it",
            seconds=seconds,
        )  # fmt: skip
    if need.within and seconds > need.seconds:
        return _checked(
            need, "failed", "it is too slow",
            received=f"{seconds * 1000:.0f} ms, the median of {TIMES}", allowed=f"within {need.within}",
            next_step="bring it nearer to where the model runs, or allow more with within",
            seconds=seconds,
        )  # fmt: skip
    warning, next_step = found.warning, found.next_step
    if need.version and not found.version and not warning:
        warning, next_step = "it tells no version, so that was not checked", "look at its version by hand"
    what = f"{told}; {warning}" if warning else told
    return _checked(need, "warn" if warning else "ok", what, next_step=next_step, seconds=seconds)


def _checked(
    need: Need,
    status: str,
    what: str,
    *,
    received: str = "",
    allowed: str = "",
    next_step: str = "",
    seconds: float = 0.0,
) -> Checked:
    missed = status == "failed"
    return Checked(
        name=need.name,
        kind=need.kind,
        status="warn" if status == "warn" or (missed and need.optional) else "failed" if missed else "ok",
        what=unpathed(f"optional: {what}" if missed and need.optional else what, need),
        received=unpathed(received, need),
        allowed=allowed,
        next_step=next_step,
        seconds=seconds,
    )
