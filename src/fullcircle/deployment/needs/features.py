"""The feature store: whether the online store can be reached and holds what the model looks up."""

from __future__ import annotations

from fullcircle.deployment.needs.outcome import Met, Unmet
from fullcircle.deployment.needs.places import address, shown
from fullcircle.errors import FullcircleError
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Need


def look(need: Need, online: str, view: ViewSpec | None) -> Met:
    """Open the store read-only and see that it holds ``view``, where that is known. Raises Unmet.

    ``online`` is the store of whoever asks, for a need that names none itself.
    """
    from fullcircle.features.answering import Plan
    from fullcircle.features.online import open_online

    url = address(need) if need.at else online
    if not url:
        raise Unmet(
            "nobody said where the online store is",
            allowed="the setting online, or at in the need",
            next_step="deploy with: fullcircle deploy PROJECT; a server of your own takes --online URL",
        )
    try:
        store = open_online(url, create=False)
        try:
            if view is None:
                store.note("fullcircle")
                return Met(what=f"the online store at {shown(url)} can be read; no view to look for")
            Plan(view, store).check()
        finally:
            store.close()
    except FullcircleError as error:
        raise Unmet(
            error.what, received=error.received or shown(url), allowed=error.allowed or "",
            next_step=error.next_step or "publish the view: fullcircle features publish PROJECT",
        ) from error  # fmt: skip
    return Met(what=f"the online store at {shown(url)} holds the view {view.name}")
