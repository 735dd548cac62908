# ruff: noqa: PT028 - ``test`` is a flow with defaults, and no test of pytest's
"""Test: what a software engineer would have tested of a model, made from its contract; and the project's own tests.

Import the module, not its function: pytest would take a function called ``test`` for one of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fullcircle.development import own_tests
from fullcircle.development.cases import judging, metamorphic
from fullcircle.development.cases.comparing import limit_of
from fullcircle.development.cases.rows import travelling
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed, SettingInvalid
from fullcircle.flows import consent, drafts, under_test, versions
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.packaging.bundle import Bundle, pack
from fullcircle.packaging.loading import replay
from fullcircle.packaging.loading import scorer as scorer_of
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
from fullcircle.settings import Settings
from fullcircle.types.progress import Progress
from fullcircle.types.tests import CaseResult, Tested, counted, in_words

MOST_ROWS = 25
TIMEOUT = own_tests.TIMEOUT
_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class _Thing:
    """What is under test: how to ask it, good rows, and itself as a file."""

    scorer: Scorer
    rows: Sequence[Mapping[str, Any]]
    written: under_test.Unpackaged | bytes
    golden: Sequence[CaseResult]
    run: str
    version: int | None = None
    bundle: str = ""
    allow_pickle: bool = False


def test(
    project: str | Path | LoadedProject,
    *,
    run: str | None = None,
    version: int | None = None,
    timeout: float = TIMEOUT,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Tested:
    """Test a finished run of a project (the latest by default), or the bundle of a version.

    Cases made from the contract, the golden rows, what must not change an answer, and the project's own pytest files,
    which may take ``timeout`` seconds. The result is kept, and a fact tells of it. Raises RunNotFound,
    VersionNotFound, SettingInvalid for a run and a version at once, and MissingExtra where the project has tests and
    pytest is not installed. What fails is in the result, and is not raised.
    """
    if run is not None and version is not None:
        raise SettingInvalid(
            "a run and a version cannot be tested at once",
            received=f"run {run}, version {version}",
            allowed="one of them",
            next_step="leave one out",
        )
    source = loaded(project)
    with opened(settings, progress, create=False) as session:
        if version is not None:
            thing = _of_version(session, source.project.name, version)
        else:
            draft = drafts.of_run(session, run) if run else drafts.latest(session, source.project.name)
            if draft.code_version != source.code:
                session.progress.note("the project was changed since this run: train again to test what it says now")
            thing = _of_draft(session, draft)
        return _tested(session, source, thing, timeout)


def gate(session: Session, source: LoadedProject, bundle: Bundle, *, run: str, digest: str) -> Tested:
    """Test a bundle before it is registered, with ``digest`` as the ledger names it.

    Raises GateFailed naming what failed.
    """
    consented = consent.given(session, digest)
    scorer = scorer_of(bundle, session.folder("code"), digest=digest, allow_pickle=consented)
    thing = _of_bundle(bundle, scorer, run=run, digest=digest)
    tested = _tested(session, source, replace(thing, allow_pickle=consented), TIMEOUT)
    if not tested.passed:
        raise GateFailed(
            f"the bundle of run {run[:12]} did not pass its tests, so it is not registered",
            received=failures_in_words(tested),
            next_step=f"see all of them: fullcircle test PROJECT --run {run[:12]}; then mend the model, the contract "
            "or the test",
        )
    return tested


def failures_in_words(tested: Tested) -> str:
    """The first few failures in one line, and how many more there are."""
    failed = tested.failures
    told = [f"{case.name} ({case.text})" for case in failed[:_TOLD]]
    more = [f"and {len(failed) - _TOLD} more"] if len(failed) > _TOLD else []
    return "; ".join([*told, *more])


def counts_of(session: Session, run: str) -> Mapping[str, int]:
    """How the latest tests of a run came out; empty where it was never tested."""
    found = [fact for fact in session.workspace.ledger.facts("tests.recorded") if fact.body["run"] == run]
    return session.recall(str(found[-1].body["tests"]), Tested).counts if found else {}


def last_of(session: Session, model: str) -> str:
    """The latest tests of a model in words: ``143 passed, 2 noted``; "none" where there were none."""
    found = [fact for fact in session.workspace.ledger.facts("tests.recorded") if fact.body["model"] == model]
    return in_words(counts_of(session, str(found[-1].body["run"]))) if found else "none"


def _of_bundle(bundle: Bundle, scorer: Scorer, *, run: str, digest: str, version: int | None = None) -> _Thing:
    found = replay(bundle, scorer)
    numbers = [abs(golden.value) for golden in bundle.golden if isinstance(golden.value, float)]
    limit = limit_of(scorer) * max([1.0, *numbers])
    return _Thing(
        scorer=scorer,
        rows=[golden.row for golden in bundle.golden],
        written=pack(bundle),
        golden=[_golden(found.rows, found.largest_difference, limit, found.differences)],
        run=run,
        version=version,
        bundle=digest,
    )


def _golden(rows: int, gap: float, limit: float, differences: Sequence[str]) -> CaseResult:
    name = f"{rows} golden rows answered again"
    if gap <= limit:
        text = f"{gap:.2g} apart at most" if gap else "the same bits"
        return CaseResult(name=name, kind="golden", status="passed", text=text)
    return CaseResult(name=name, kind="golden", status="failed", text="; ".join(differences))


def _of_version(session: Session, model: str, version: int) -> _Thing:
    known = versions.find(session, model, version)
    bundle = versions.bundle(session, model, version)
    scorer = versions.scorer(session, model, version)
    thing = _of_bundle(bundle, scorer, run=known.run, digest=known.bundle, version=version)
    return replace(thing, allow_pickle=consent.given(session, known.bundle))


def _of_draft(session: Session, draft: drafts.Draft) -> _Thing:
    """A run has no golden rows yet: a second model, loaded anew, has to give the answers of the first."""
    frame, test_rows = drafts.rows(session, draft)
    found = rows_of(frame[test_rows], draft.contract)
    step = max(1, len(found) // MOST_ROWS)
    rows = [travelling(draft.contract, row) for row in found[::step][:MOST_ROWS]]
    first, second = drafts.scorer(session, draft), drafts.scorer(session, draft)
    name = f"{len(rows)} test rows answered by the model loaded twice"
    golden = metamorphic.same(name, "golden", first, second, rows)
    return _Thing(
        scorer=first,
        rows=rows,
        written=under_test.Unpackaged(
            contract=draft.contract,
            runtime=draft.runtime,
            saved=drafts.saved_model(session, draft),
            rows=tuple(rows),
        ),
        golden=[golden],
        run=draft.run,
        allow_pickle=draft.pickled,
    )


def _tested(session: Session, source: LoadedProject, thing: _Thing, timeout: float) -> Tested:
    started = time.perf_counter()
    session.progress.step("test", "rows made from the contract")
    files = own_tests.files(source)
    parts = 3 if files else 2
    with _quiet_threads():
        cases = [*thing.golden, *judging.judge(thing.scorer, thing.rows)]
        session.progress.advance(1, parts)
        cases += metamorphic.check(thing.scorer, thing.rows)
        session.progress.advance(2, parts)
    if files:
        session.progress.step("test", f"the project's own tests: {', '.join(path.name for path in files[:3])}")
        cases += _own(source, thing, timeout)
    found = Tested(
        model=source.project.name,
        run=thing.run,
        version=thing.version,
        bundle=thing.bundle,
        passed=all(case.status != "failed" for case in cases),
        counts=counted(tuple(cases)),
        cases=tuple(cases),
        seconds=time.perf_counter() - started,
        notes=() if files else ("the project has no test files of its own beside it",),
    )
    session.progress.note(f"tests: {in_words(found.counts)}")
    return _recorded(session, found)


def _own(source: LoadedProject, thing: _Thing, timeout: float) -> tuple[CaseResult, ...]:
    private = any(column.private for column in thing.scorer.contract.columns)
    with tempfile.TemporaryDirectory(prefix="fullcircle-tests-", ignore_cleanup_errors=True) as name:
        tested = under_test.write(thing.written, Path(name), allow_pickle=thing.allow_pickle)
        return own_tests.run(source, tested, Path(name), timeout=timeout, private=private)


def _recorded(session: Session, found: Tested) -> Tested:
    digest = session.keep(found)
    session.record(
        "tests.recorded",
        model=found.model,
        run=found.run,
        version=found.version,
        bundle=found.bundle or None,
        tests=digest,
        passed=found.passed,
        cases=len(found.cases),
        failed=len(found.failures),
    )
    return replace(found, digest=digest)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Many small batches: threads lose more time waiting for each other than they save."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
