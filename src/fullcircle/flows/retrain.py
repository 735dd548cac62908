"""Retrain: learn from the rows whose labels have come, challenge the champion, and decide."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fullcircle.development.adopted import adopted
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed
from fullcircle.evaluation import beforehand
from fullcircle.flows import challenging, data, drafts, going_back, learning, subjects, versions
from fullcircle.flows.learning import Champion
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import asked_for, decide, failed_gates, judged_against, passed, promote_in
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.flows.standing import at_work, standing_of
from fullcircle.flows.train import train_in
from fullcircle.monitoring.journal import Journal
from fullcircle.retraining import challenge, quarantine
from fullcircle.retraining.quarantine import Sifted
from fullcircle.retraining.triggers import AGAIN, ANEW, later
from fullcircle.retraining.worth import too_little
from fullcircle.settings import Settings
from fullcircle.types.contract import Contract
from fullcircle.types.loop import Quarantined, Standing, Step, Trigger
from fullcircle.types.monitoring import Decision
from fullcircle.types.progress import Progress
from fullcircle.types.project import Project
from fullcircle.types.report import Report
from fullcircle.types.turn import Packaged, Retrained, Trained

FEWEST = 30
"""Fewer fresh rows than this judge no challenger, and at least as many are there to learn from."""


def retrain(
    project: str | Path | LoadedProject,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Retrained:
    """Train a challenger on the champion's data and every labelled prediction since, and promote it or hold.

    The latest of the new rows are not learned from: on them champion and challenger meet. Rows that the contract
    flagged, filled or rejected are kept out, and so are those that quarantine finds suspicious (docs/retraining.md).
    Raises WorkspaceBusy where another process retrains the same model.
    """
    source = loaded(project)
    with opened(settings, progress, create=False) as session:
        with at_work(session, source.project.name) as journal:
            reconcile(session)
            made = retrain_in(session, source, Trigger(cause="hand", reason="asked for by hand"), journal)
        if made.decision.action == "promote":
            going_back.follow(session, source.project.name)
        return made


def retrain_in(
    session: Session,
    source: LoadedProject,
    trigger: Trigger,
    journal: Journal,
    standing: Standing | None = None,
    *,
    told: str | None = None,
) -> Retrained:
    """Retrain within an open session, and within ``at_work``: nobody else may decide about this model meanwhile.

    ``told`` is the trigger's reason as facts may hold it, where the reason itself quotes the data.
    """
    project = source.project
    standing = standing or standing_of(session, project.name, journal)
    session.progress.step("retrain", trigger.reason)
    champion = learning.champion_of(session, project, standing.version)
    step = Step(at=standing.at, trigger=trigger, labelled=standing.labelled)
    trying = _Trying(session, source, champion, journal, trigger, step, told or trigger.reason)
    why_not = _impossible(project, champion.contract)
    if why_not:
        return trying.held(why_not)
    return _on_new_rows(trying)


@dataclass
class _Trying:
    """One try, and what it came to so far."""

    session: Session
    source: LoadedProject
    champion: Champion
    journal: Journal
    trigger: Trigger
    step: Step
    told: str
    rows: int = 0
    kept_out: int = 0
    trained: Trained | None = None
    packaged: Packaged | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.source.project.name

    def reason(self, why: str) -> str:
        """Why it was tried, what was found on the way, and what came of it."""
        return "; ".join([self.trigger.reason, *self.notes, why])

    def as_told(self, why: str) -> str:
        """The same as facts may hold it."""
        return "; ".join([self.told, *self.notes, why])

    def held(self, why: str, *, told: str | None = None) -> Retrained:
        """The champion stays, and the fact says why; ``told`` where ``why`` quotes the data."""
        return self._hold(f"held: {why}", f"held: {told or why}")

    def waits(self, why: str, unsure: str = "") -> Retrained:
        """It was made, and waits for a person; ``unsure`` says why the loop does not decide, and may quote data."""
        return self._hold(f"{unsure}; {why}" if unsure else why, why)

    def awaits(self, labelled: int, why: str, *, told: str | None = None) -> Retrained:
        """Nothing was tried: it is asked again when there are so many labelled rows, or twice as many as now.

        The latter because the gates may be others by then.
        """
        self.step = replace(self.step, awaited=min(labelled, later(self.step.labelled, AGAIN)))
        return self.held(why, told=told)

    def until(self, kept: int) -> int:
        """How many labelled rows there are when so many can be learned from, if as many are kept apart as so far."""
        more = max(1, kept - self.rows)
        return self.step.labelled + (math.ceil(more * (1 + self.kept_out / self.rows)) if self.rows else more)

    def promoted(self, version: int, why: str) -> Retrained:
        """The challenger, or what was made before, becomes champion."""
        self.session.progress.step("promote", f"version {version}")
        before, reason = self.champion.version, self.reason(why)
        made = Decision(action="promote", model=self.model, version=version, previous=before, reason=reason)
        digest, told = self._kept(made), self.as_told(why)
        promote_in(self.session, self.model, version, told, trigger=self.trigger.cause, step=digest)
        return self._retrained(made)

    def _hold(self, why: str, told: str) -> Retrained:
        made = Decision(action="hold", model=self.model, version=self.champion.version, reason=self.reason(why))
        digest = self._kept(made)
        decide(self.session, made, told=self.as_told(told), trigger=self.trigger.cause, step=digest)
        return self._retrained(made)

    def _kept(self, decision: Decision) -> str:
        self.step = replace(self.step, decision=decision)
        return self.session.keep(self.step)

    def _retrained(self, decision: Decision) -> Retrained:
        return Retrained(
            model=self.model,
            decision=decision,
            trained=self.trained,
            packaged=self.packaged,
            new_rows=self.rows,
            quarantined=self.kept_out,
            step=self.step,
        )


def _impossible(project: Project, contract: Contract) -> str:
    """Why this model cannot be trained again at all, or nothing."""
    if adopted(project):
        return (
            "the model was trained elsewhere and cannot be trained again here; "
            "write fit in the project file in place of Adopted(...), see docs/adopt.md"
        )
    unlogged = _private(project, contract)
    if unlogged:
        return (
            f"{unlogged} private, so the log holds no values of it to learn from; "
            "train on data of your own instead: fullcircle run PROJECT"
        )
    return ""


def _on_new_rows(trying: _Trying) -> Retrained:
    """Sift the new rows, weigh whether they are worth a training, and train."""
    champion = trying.champion
    frozen = champion.frozen()
    new = learning.new_rows(champion, frozen)
    trying.rows, trying.kept_out = len(new.frame), new.rejected
    if len(new.frame) < 2 * FEWEST and _changed(trying):
        return _on_the_same_rows(trying, frozen)
    if len(new.frame) < 2 * FEWEST:
        return trying.awaits(trying.until(2 * FEWEST), _too_few(new))
    answered = subjects.score(champion.scorer, new.frame)
    sifted = _sifted(trying, new, answered)
    if sifted.held:
        trying.rows, trying.kept_out = 0, new.rejected + len(new.frame)
        return trying.held(sifted.held, told="quarantine found the new rows suspicious; the step says what")
    keep = sifted.keep
    trying.rows, trying.kept_out = int(keep.sum()), trying.kept_out + int((~keep).sum())
    trying.notes.append(f"{trying.rows} new labelled rows, {trying.kept_out} quarantined")
    if trying.rows < 2 * FEWEST:
        why = f"too few rows are left: {2 * FEWEST} are needed, {FEWEST} of them to judge it by"
        return trying.awaits(trying.until(2 * FEWEST), why)
    kept, answers = new.frame[keep].reset_index(drop=True), _at(answered, keep)
    trying.step = replace(trying.step, expected=challenging.expected(champion, trying.journal, kept, answers, frozen))
    if trying.trigger.cause in ("harm", "drift"):
        expected = trying.step.expected
        little = "nobody can tell what it is worth" if expected is None else too_little(expected)
        if little:
            return trying.awaits(later(trying.step.labelled, ANEW), little)
    lack = _lack(trying, kept)
    if lack is not None:
        return _waits_for_rows(trying, lack)
    sources = None if new.source is None else new.source[keep]
    return _grown(trying, frozen, kept, answers, sources, sifted.wrong)


def _sifted(trying: _Trying, new: learning.Fresh, answered: subjects.Scored) -> Sifted:
    """Quarantine looks at the rows that no person released; what it holds or keeps apart stays to be released."""
    champion, project = trying.champion, trying.source.project
    asked = np.flatnonzero(~new.released)
    late = learning.rows_of(champion, new.frame, champion.losses(new.frame, answered), new.source).at(asked)
    sifted = quarantine.sift(learning.known_rows(champion), late, retrain=project.retrain, seed=project.seed)
    if new.released.any():
        keep = new.released.copy()
        keep[asked] = sifted.keep
        held = (Quarantined(rows=len(asked), reason=sifted.held),) if sifted.held else sifted.found
        wrong = (1.0 if sifted.held else sifted.wrong) * len(asked) / len(keep)
        sifted = Sifted(keep=keep, found=held, wrong=wrong)
        trying.notes.append(f"{int(new.released.sum())} rows released from quarantine by a person")
    apart = new.ids[~sifted.keep].tolist()
    digest = trying.session.keep(apart) if apart else ""
    trying.step = replace(trying.step, quarantine=sifted.found, apart=digest)
    return sifted


def _grown(
    trying: _Trying, frozen: Any, kept: Any, answers: subjects.Scored, sources: Any, quarantined: float
) -> Retrained:
    """Train on what the champion was made from and the new rows but the latest, on which the two then meet."""
    import pandas as pd

    session, champion, project = trying.session, trying.champion, trying.source.project
    base = learning.base_of(champion, frozen)
    grown = data.store(
        session,
        trying.model,
        pd.concat([base, kept], ignore_index=True),
        "labelled predictions",
        champion.draft.snapshot,
    )
    earlier = _made_before(trying, grown.digest)
    if earlier is not None:
        return _taken_up(trying, *earlier)
    fresh = _fresh(project, len(kept))
    test = np.zeros(len(base) + len(kept), dtype=bool)
    test[-fresh:] = True
    late = np.arange(len(kept)) >= len(kept) - fresh
    trying.step = replace(trying.step, learned=len(kept))
    rows = kept[late].reset_index(drop=True), _at(answers, late)
    return _trained(trying, grown, test, frozen, rows, None if sources is None else sources[late], quarantined)


def _fresh(project: Project, kept: int) -> int:
    """How many of the new rows, the latest, the two meet on."""
    return max(FEWEST, round(project.test * kept))


def _lack(trying: _Trying, kept: Any) -> beforehand.Lack | None:
    """The gate that would hold any challenger on so few rows; of alarms also one as good as the champion was.

    A person or a calendar that asks is not told to wait for chance: the challenger may be better than that.
    """
    session, champion, project = trying.session, trying.champion, trying.source.project
    report = None
    if trying.trigger.cause in ("harm", "drift"):
        report = session.recall(versions.find(session, trying.model, champion.version).report, Report)
    return beforehand.lacking(project.gates, kept, _fresh(project, len(kept)), report)


def _waits_for_rows(trying: _Trying, lack: beforehand.Lack) -> Retrained:
    labelled = trying.until(math.ceil(lack.rows / trying.source.project.test))
    needs = f"{labelled - trying.step.labelled:,} more labelled rows are needed for the gate {lack.gate!r}"
    return trying.awaits(labelled, f"{needs}: {lack.text}", told=f"{needs}: {lack.told}")


def _on_the_same_rows(trying: _Trying, frozen: Any) -> Retrained:
    """Code or parameters changed, and hardly any rows came: the champion's rows, and those that it was judged by."""
    champion = trying.champion
    frame, test = champion.made_from
    snapshot = data.find(trying.session, champion.draft.snapshot)
    earlier = _made_before(trying, snapshot.digest)
    if earlier is not None:
        return _taken_up(trying, *earlier)
    trying.notes.append("code or parameters changed, and the rows are those of the champion")
    asked = frame[test].reset_index(drop=True)
    rows = asked, subjects.score(champion.scorer, asked)
    # What a challenger is judged by here are the frozen rows themselves, where the champion is the first version.
    apart = None if frozen is not None and frozen.first == champion.version else frozen
    return _trained(trying, snapshot, test, apart, rows, None, 0.0)


def _trained(
    trying: _Trying,
    snapshot: Any,
    test: Any,
    frozen: Any,
    rows: tuple[Any, subjects.Scored],
    sources: Any,
    quarantined: float,
) -> Retrained:
    """Train, ask the gates, and let champion and challenger answer the same rows."""
    session = trying.session
    trained = train_in(
        session,
        trying.source,
        snapshot=snapshot,
        test=test,
        tags={"fullcircle.trigger": trying.trigger.reason[:200]},
    )
    trying.trained = trained
    failed = [f"{gate.gate}: {gate.reason}" for gate in trained.report.gates if not gate.passed]
    if failed or not trained.report.passed:
        none = "the project declares none"
        told = f"by its gates: {failed_gates(trained.report) or none}"
        return trying.held(f"by its gates: {'; '.join(failed) or none}", told=told)
    draft = drafts.of_run(session, trained.run)
    found = challenging.compared(
        trying.champion,
        drafts.scorer(session, draft),
        trying.journal,
        *rows,
        frozen,
        source=sources,
        quarantined=quarantined,
    )
    trying.step = replace(trying.step, measured=found.worth, differences=found.differences)
    good, why = challenge.verdict(found.fresh, found.frozen, changed=found.moved.changed)
    if not good and not (found.fresh is not None and found.fresh.passed):
        return trying.held(why)
    excused = good and found.frozen is not None and not found.frozen.passed
    trying.step = replace(trying.step, changed=excused)
    if good and found.worth is not None and trying.champion.about.gate is not None and found.worth.gain < 0.0:
        return trying.held(f"its answers earn less: {found.worth.text}")
    return _packaged(trying, draft, why, "" if good else found.moved.text or why)


def _packaged(trying: _Trying, draft: drafts.Draft, why: str, unsure: str) -> Retrained:
    """Package what passed; then it is promoted, or waits for a person where the project or the doubt says so."""
    session, project, trained = trying.session, trying.source.project, trying.trained
    assert trained is not None  # noqa: S101 - the caller trained it
    person = bool(unsure) or "person" in (project.approve, project.retrain.approve)
    try:
        trying.packaged = package_in(
            session,
            trying.source,
            draft,
            trained.report_digest,
            trained.report,
            approve="person" if person else "auto",
        )
    except GateFailed as error:
        return trying.held(f"by its tests: {error.received}", told=f"by its tests: {error.what}")
    version = trying.packaged.version
    trying.notes.append(why)
    if person:
        return trying.waits(asked_for(trying.model, version), unsure)
    return trying.promoted(version, "all gates passed")


def _changed(trying: _Trying) -> bool:
    """Whether the project's code or parameters are not those of the champion."""
    draft, source = trying.champion.draft, trying.source
    return (source.code, dict(source.project.params)) != (draft.code_version, dict(draft.params))


def _too_few(new: learning.Fresh) -> str:
    found = len(new.frame)
    left_out = f"({new.rejected} were quarantined because the contract flagged, filled or rejected them" + (
        f", and {new.unusable} have a label that is no answer of this model)" if new.unusable else ")"
    )
    if not found:
        return f"there are no new labelled rows to learn from {left_out}"
    return (
        f"there are only {found} new labelled rows, and {2 * FEWEST} are needed: {FEWEST} to learn from and "
        f"{FEWEST} to judge by {left_out}"
    )


def _at(scored: subjects.Scored, rows: Any) -> subjects.Scored:
    """The answers on some of the rows."""
    shares = scored.probabilities
    return subjects.Scored(scored.values[rows], None if shares is None else shares[rows], scored.known[rows])


def _made_before(trying: _Trying, snapshot: str) -> tuple[int, str] | None:
    """The version that was made from these rows, code and parameters against this champion, and what is to be said.

    That is one that an interrupted turn left behind, or that a person was asked to approve, or one that was champion
    and was taken back: then the word is why it is not promoted again.
    """
    session, source, model = trying.session, trying.source, trying.model
    state = session.workspace.ledger.state()
    for number in sorted(state.versions[model], reverse=True):
        version = state.versions[model][number]
        if number == trying.champion.version or version.snapshot != snapshot:
            continue
        draft = drafts.of_run(session, version.run)
        same = (draft.code_version, dict(draft.params)) == (source.code, dict(source.project.params))
        grown = snapshot != trying.champion.draft.snapshot or version.approve == "person"
        if not (same and grown) or judged_against(session, version.report) != trying.champion.version:
            continue
        if number in state.promoted[model]:
            by_hand = f"fullcircle promote {model} --version {number}"
            return number, f"was taken back; it is not promoted again by itself, but by hand: {by_hand}"
        return number, ""
    return None


def _taken_up(trying: _Trying, version: int, why_not: str) -> Retrained:
    """Promote what was made before, by a turn that was interrupted or approved meanwhile; hold what still waits."""
    state, model = trying.session.workspace.ledger.state(), trying.model
    if why_not:
        return trying.held(f"version {version} was made from the same rows and {why_not}")
    trying.notes.append(f"version {version} was made from the same rows")
    if state.waits(model, version):
        return trying.waits(asked_for(model, version))
    return trying.promoted(version, passed(state, model, version))


def _private(project: Project, contract: Contract) -> str:
    """The features that the champion's contract or the project now keeps out of the log, with a verb; or nothing."""
    declared = {name for name, given in project.inputs.columns.items() if given.get("private") or given.get("hashed")}
    declared |= {column.name for column in contract.columns if column.private}
    names = [name for name in project.features if name in declared]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'}" if names else ""
