"""What a model needs at run time, asked from where it will run, before anything is started there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from fullcircle.deployment.needs.asking import Question, ask
from fullcircle.errors import NeedUnmet
from fullcircle.flows.session import Session
from fullcircle.packaging.bundle import Bundle
from fullcircle.types.needs import Checked, Need


def before_deploy(session: Session, bundle: Bundle, python: Path, *, known: tuple[Need, ...] = ()) -> None:
    """Refuse to start a server where it would lack what its model needs, as ``python`` finds from here.

    What is ``known`` is not asked for. Raises NeedUnmet; what is optional, or only looks wrong, is noted.
    """
    wanted = tuple(one for one in bundle.needs if one not in known)
    if not wanted:
        return
    session.progress.step("needs", f"{len(wanted)} things that the model needs at run time")
    found = asked(session, python, wanted, bundle)
    for one in found:
        session.progress.note(f"{one.name}: {one.what}")
    unmet = [one for one in found if one.status == "failed"]
    if unmet:
        raise NeedUnmet(
            f"{bundle.manifest.model} needs what is not there: {', '.join(one.name for one in unmet)}",
            received="\n    ".join(
                f"{one.name} ({one.kind}): {one.what}" + (f" ({one.received})" if one.received else "")
                for one in unmet
            ),
            allowed="; ".join(f"{one.name}: {one.allowed}" for one in unmet if one.allowed) or None,
            next_step="; ".join(dict.fromkeys(one.next_step for one in unmet)),
        )


def asked(
    session: Session, python: Path | None, needs: tuple[Need, ...], bundle: Bundle | None
) -> tuple[Checked, ...]:
    """What the interpreter finds of the needs; this one where there is no other."""
    view = None if bundle is None else bundle.view
    question = Question(needs=needs, online=session.features.online_url, view=view)
    found = ask(python or Path(sys.executable), question)
    return tuple(
        one if one.next_step or one.status == "ok" else replace(one, next_step="see docs/doctor.md") for one in found
    )
