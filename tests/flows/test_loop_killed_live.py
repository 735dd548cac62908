"""A live turn, with packaging, tests and proof, that is killed: the next one goes on or begins anew.

Three places here, one after the other; all of them in ``make soak`` (``python -m benchmarks.soak_loop``).
"""

from __future__ import annotations

from pathlib import Path

from flows import killing

# Half registered; registered and not promoted; promoted and not told.
PLACES = ("commit version.registered", "commit version.promoted", "commit decision.taken")


def test_a_live_turn_that_is_killed_again_and_again_is_made_good(tmp_path: Path) -> None:
    folder, proven = killing.begin(tmp_path / "live"), []
    for place in PLACES:
        died, changes = killing.killed(folder, place)
        assert died, place
        assert changes[-1] == place
        proven.append(any(each.startswith("process ") and each.endswith("/bin/python") for each in changes))
    assert proven == [True, True, False], "what was registered is taken up"
    step = killing.whole(folder)
    assert step.decision is not None
    assert "was made from the same rows" in step.decision.reason
