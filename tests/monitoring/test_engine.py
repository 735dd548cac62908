"""The drift engine through its door: what it finds, names, forgives, remembers and refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from fullcircle.errors import DataUnfit
from fullcircle.monitoring import engine
from fullcircle.monitoring.batches import Batch, count
from fullcircle.monitoring.detector import Counted, Floats, Reference
from fullcircle.monitoring.detectors.learned import Learned
from fullcircle.monitoring.detectors.tilts import Tilts
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.profiles import frozen
from fullcircle.stats import bins, distances
from fullcircle.types.monitoring import Dependence, Evidence, FeatureProfile, Profile
from fullcircle.types.project import Monitor

MONITOR = Monitor(window="1h")
CITIES = ("Pune", "Lima", "Oslo")


def numbers(generator: np.random.Generator, n: int, columns: int = 6) -> dict[str, Any]:
    return {f"x{place}": generator.normal(size=n) for place in range(columns)}


def reference(n: int = 10_000, columns: int = 6, seed: int = 1) -> Profile:
    generator = np.random.default_rng(seed)
    features = [frozen(name, values) for name, values in numbers(generator, n, columns).items()]
    drawn = generator.choice(CITIES, n, p=[0.5, 0.3, 0.2])
    counts = tuple(bins.count_categories(drawn, CITIES).tolist())
    city = FeatureProfile(name="city", kind="category", categories=CITIES, counts=counts)
    return Profile(features=(*features, city), rows=n)


def losses(n: int = 5000, seed: int = 2) -> Profile:
    """A profile that watches the loss of labelled rows and the loss that the model expects."""
    generator = np.random.default_rng(seed)
    return Profile(
        features=(frozen("expected loss", generator.beta(2, 6, n), role="estimate"),),
        outcomes=(frozen("loss", (generator.random(n) < 0.2).astype(float), role="loss"),),
        rows=n,
    )


class Stream:
    """Hours of traffic, from a seed, through one watch."""

    def __init__(self, profile: Profile, monitor: Monitor = MONITOR, seed: int = 5, state: bytes = b"") -> None:
        self.profile, self.monitor = profile, monitor
        self.generator = np.random.default_rng(seed)
        self.watch = Watch(profile, monitor, state=state)
        self.none = Batch.empty(profile.outcomes)

    def rows(self, n: int, changed: Mapping[str, Any]) -> Batch:
        columns = numbers(self.generator, n) | {"city": self.generator.choice(CITIES, n, p=[0.5, 0.3, 0.2])}
        for name, change in changed.items():
            columns[name] = change(columns[name]) if callable(change) else change
        return count(self.profile.features, columns, n)

    def hour(self, n: int = 1000, /, **changed: Any) -> Evidence:
        (found,) = self.watch.step(self.rows(n, changed), self.none)
        return found

    def until_fired(self, most: int, n: int = 1000, /, **changed: Any) -> tuple[int, Evidence]:
        for hours in range(1, most + 1):
            found = self.hour(n, **changed)
            if found.fired:
                return hours, found
        raise AssertionError(f"no alarm within {most} hours, level {found.level} of {found.threshold}")


def moved(by: float) -> Any:
    return lambda values: values + by


def emptied(share: float) -> Any:
    return lambda values: np.where(np.arange(len(values)) < share * len(values), math.nan, values)


def test_the_threshold_is_batches_a_year_over_the_share_of_the_budget() -> None:
    monthly = Monitor(window="1d", false_alerts="12 per year")
    assert engine.threshold(MONITOR, "drift") == pytest.approx(math.log(365.25 * 24 / 0.5), abs=1e-3)
    assert engine.threshold(monthly, "risk") == pytest.approx(math.log(365.25 / 3), abs=1e-3)
    assert engine.threshold(Monitor(window="365d", false_alerts="50 per year"), "drift") == 0.0
    assert sum(engine.SHARES.values()) == 1.0


def test_ten_days_of_the_same_traffic_raise_nothing() -> None:
    stream = Stream(reference())
    assert not any(stream.hour().fired for _ in range(250))


@pytest.mark.parametrize(
    ("change", "most"),
    [
        ({"x2": moved(0.1)}, 25),
        ({"x2": moved(0.25)}, 3),
        ({"x2": moved(-0.5)}, 1),
        ({"x2": lambda values: values * 1.3}, 3),
        ({"x2": emptied(0.05)}, 1),
        ({"x2": lambda values: np.where(np.arange(len(values)) < 15, 1e6, values)}, 1),
        ({"city": lambda values: np.where(np.arange(len(values)) < 30, "Quito", values)}, 1),
        ({"city": lambda values: np.where(values == "Lima", "Oslo", values)}, 1),
    ],
    ids=["a tenth", "a quarter", "half", "spread", "missing", "outside", "new category", "other mix"],
)
def test_what_changed_is_found_in_time_and_named(change: dict[str, Any], most: int) -> None:
    stream = Stream(reference())
    for _ in range(3):
        assert not stream.hour().fired
    _, found = stream.until_fired(most, **change)
    assert [suspect.feature for suspect in found.suspects] == list(change)
    assert found.level >= found.threshold
    assert 1 <= found.begun <= most + 3


def test_a_suspect_is_told_with_its_distance_and_how_sure_it_is() -> None:
    stream = Stream(reference())
    (suspect,) = stream.hour(x1=moved(0.5)).suspects
    counted = Stream(reference()).rows(1000, {"x1": moved(0.5)})
    apart = distances.compare([stream.profile.features[1].counts], [counted.counts("x1")])
    assert suspect.distance == pytest.approx(float(apart.js[0]), rel=1e-5)
    assert suspect.low is not None
    assert suspect.high is not None
    assert suspect.low < suspect.distance < suspect.high
    assert suspect.certain
    assert suspect.evidence > engine.threshold(MONITOR, "drift")


def test_several_columns_are_named_the_strongest_first() -> None:
    stream = Stream(reference())
    found = stream.hour(x0=moved(0.4), x3=moved(0.8), city=np.full(1000, "Oslo"))
    assert found.fired
    assert [suspect.feature for suspect in found.suspects] == ["city", "x3", "x0"]
    assert all(suspect.certain for suspect in found.suspects)


class Told:
    """A detector that says of each column what it was told to say, one bet each."""

    name, code, weight = "told", "X900", 1.0

    def __init__(self, *says: float) -> None:
        self.says = np.array(says)[:, None]

    def plan(self, reference: Reference, *, share: float) -> Told:
        return self

    @property
    def weights(self) -> Floats:
        return np.ones(self.says.shape)

    def start(self) -> Floats:
        return np.zeros((len(self.says), 0))

    def judge(self, batch: Counted, memory: Floats) -> Floats:
        return self.says

    def learn(self, batch: Counted, memory: Floats) -> Floats:
        return memory


def test_where_none_passes_alone_the_likeliest_is_named_and_called_uncertain() -> None:
    """Together the columns reach the line c, but no k of the F = 7 reach 7 c / k."""
    profile = reference(200)
    line = engine.threshold(MONITOR, "drift") + math.log(7)
    shares = np.log([0.3, 0.8, 0.45, 1e-9, 0.1, 0.05, 0.02])
    watch = Watch(profile, MONITOR, detectors=[Told(*(line + shares))])
    batch = Stream(profile).rows(100, {})
    (found,) = watch.step(batch, Batch.empty(()))
    assert found.fired
    assert found.level == pytest.approx(line - math.log(7) + math.log(1.72), abs=1e-4)
    assert [(suspect.feature, suspect.certain) for suspect in found.suspects] == [("x1", False)]
    sure = Watch(profile, MONITOR, detectors=[Told(*(line + np.log([0.6, 0.8, 0.1, 1e-9, 0.1, 0.05, 0.02])))])
    (found,) = sure.step(batch, Batch.empty(()))
    assert [(suspect.feature, suspect.certain) for suspect in found.suspects] == [("x1", True), ("x0", True)]
    below = Watch(profile, MONITOR, detectors=[Told(*(line + np.log([0.3, 0.3, 0.3, 0.05, 0.01, 0.01, 0.01])))])
    assert not below.step(batch, Batch.empty(()))[0].fired


def test_after_an_alarm_levels_begin_anew_and_suspects_no_longer_raise_it() -> None:
    stream = Stream(reference())
    assert stream.hour(x1=moved(0.5)).fired
    for _ in range(100):
        found = stream.hour(x1=moved(0.5))
        assert not found.fired
        assert [suspect.feature for suspect in found.suspects] == ["x1"]
        assert not found.returned
    assert found.begun == 101
    again = stream.hour(x1=moved(0.5), x4=moved(0.5))
    assert again.fired
    assert {suspect.feature for suspect in again.suspects} == {"x1", "x4"}


def test_a_column_that_comes_back_is_told_once_and_watched_again() -> None:
    stream = Stream(reference())
    assert stream.hour(x1=moved(0.5), city=np.full(1000, "Oslo")).fired
    found = [stream.hour(x1=moved(0.5)) for _ in range(3)]
    assert [each.returned for each in found] == [("city",), (), ()]
    assert [suspect.feature for suspect in found[-1].suspects] == ["x1"]
    back = stream.hour()
    assert back.returned == ("x1",)
    assert not back.suspects
    assert back.begun == 0
    assert not any(stream.hour().fired for _ in range(30))
    assert [suspect.feature for suspect in stream.hour(x1=moved(0.5)).suspects] == ["x1"]


def test_a_weak_drift_that_ends_is_taken_back_in_time() -> None:
    """A tenth of a standard deviation for a day, then none: back within two days, never before it ended."""
    stream = Stream(reference())
    stream.until_fired(40, x5=moved(0.1))
    assert not any(stream.hour(x5=moved(0.1)).returned for _ in range(50))
    assert any("x5" in stream.hour().returned for _ in range(48))


def test_a_column_that_is_back_is_not_named_for_the_batch_in_which_it_comes_back() -> None:
    """What it showed was never for an alarm; and a distance of 0 was told where its counts were just forgotten."""
    profile, eager = reference(200), Monitor(window="365d", false_alerts="50 per year")
    told, stream = Told(9.0, *[-1.0] * 6), Stream(profile)
    watch = Watch(profile, eager, detectors=[told])
    (found,) = watch.step(stream.rows(1000, {"x0": moved(2.0)}), stream.none)
    assert [suspect.feature for suspect in found.suspects] == ["x0"]
    told.says = np.full((7, 1), 0.5)  # enough for any column at a budget as wide as this
    (found,) = watch.step(stream.rows(1000, {}), stream.none)
    assert (found.fired, found.returned) == (True, ("x0",))
    assert {suspect.feature for suspect in found.suspects} == {each.name for each in profile.features} - {"x0"}


def test_a_column_that_moves_to_the_other_side_has_not_come_back() -> None:
    """Cold at the alarm, warm now: the reference explains that better than the cold did, and still badly."""
    stream = Stream(reference())
    assert stream.hour(x1=moved(-0.8)).fired
    for _ in range(20):
        found = stream.hour(x1=moved(0.5))
        assert not found.fired
        assert not found.returned
        assert [suspect.feature for suspect in found.suspects] == ["x1"]
        assert found.suspects[0].distance > 0
    assert next(hours for hours in range(1, 5) if stream.hour().returned) <= 2
    # And where each hour is half of both, weeks do not make it a return.
    assert stream.hour(x1=moved(-0.8)).fired
    half = [stream.hour(x1=lambda values: values - 0.8 * (np.arange(len(values)) < 500)) for _ in range(20)]
    assert not any(each.fired or each.returned for each in half)


def test_drift_within_the_tolerance_is_quiet_and_beyond_it_is_found() -> None:
    shift = 0.25
    apart = float(shift**2 / 8 / math.log(2))  # about the divergence in bits of two normal laws that near
    forgiving = replace(MONITOR, tolerance=1.5 * apart)
    stream = Stream(reference(), forgiving)
    assert not any(stream.hour(x0=moved(shift)).fired for _ in range(100))
    _, found = stream.until_fired(5, x0=moved(1.0))
    assert [suspect.feature for suspect in found.suspects] == ["x0"]


def test_tolerance_is_by_column_and_one_is_not_watched() -> None:
    profile = reference()
    stream = Stream(profile, replace(MONITOR, tolerance={"x0": 1.0}))
    assert not any(stream.hour(x0=moved(9.0)).fired for _ in range(5))
    assert stream.hour(x1=moved(0.5)).fired
    assert not Stream(profile, replace(MONITOR, tolerance=1.0)).hour(x1=moved(9.0)).fired


def hours_of_loss(monitor: Monitor, wrong: float, expected: float, hours: int) -> list[tuple[Evidence, ...]]:
    profile, generator = losses(), np.random.default_rng(8)
    watch = Watch(profile, monitor)
    found = []
    for _ in range(hours):
        estimate = np.clip(generator.beta(2, 6, 500) * expected, 0, 1)
        batch = count(profile.features, {"expected loss": estimate}, 500)
        loss = (generator.random(500) < wrong).astype(float)
        found.append(watch.step(batch, count(profile.outcomes, {"loss": loss}, 500)))
    return found


def test_losses_alarm_upwards_only_and_each_kind_for_itself() -> None:
    fine = hours_of_loss(MONITOR, 0.2, 1.0, 80)
    assert [each.kind for each in fine[0]] == ["risk", "estimate"]
    assert not any(each.fired for hour in fine for each in hour)
    better = hours_of_loss(MONITOR, 0.05, 0.5, 80)
    assert not any(each.fired for hour in better for each in hour)
    worse = hours_of_loss(MONITOR, 0.3, 1.0, 10)
    assert any(hour[0].fired for hour in worse)
    assert not any(hour[1].fired for hour in worse)
    (suspect,) = next(hour[0] for hour in worse if hour[0].fired).suspects
    assert suspect.feature == "loss"
    expected = hours_of_loss(MONITOR, 0.2, 1.4, 10)
    assert any(hour[1].fired for hour in expected)
    assert not any(hour[0].fired for hour in expected)


def test_losses_may_grow_by_the_share_that_is_allowed() -> None:
    allowed = replace(MONITOR, worse_by=0.5)
    assert not any(hour[0].fired for hour in hours_of_loss(allowed, 0.29, 1.0, 150))
    assert any(hour[0].fired for hour in hours_of_loss(allowed, 0.45, 1.0, 10))


def test_an_empty_batch_changes_nothing_and_says_what_was() -> None:
    stream = Stream(reference())
    before_all = stream.watch.state()
    (none,) = stream.watch.step(Batch.empty(stream.profile.features), stream.none)
    assert stream.watch.state() == before_all
    assert none.level == -math.inf
    assert not none.fired
    last = stream.hour(x1=moved(0.3))
    kept = stream.watch.state()
    (same,) = stream.watch.step(Batch.empty(stream.profile.features), stream.none)
    assert stream.watch.state() == kept
    assert (same.level, same.suspects) == (last.level if not last.fired else -math.inf, last.suspects)


def test_a_column_without_rows_keeps_its_evidence() -> None:
    """Labels come in some batches only; the loss is judged when they do."""
    profile, generator = losses(), np.random.default_rng(3)
    watch, none = Watch(profile, MONITOR), Batch.empty(profile.outcomes)
    rare = count(profile.outcomes, {"loss": (generator.random(60) < 0.4).astype(float)}, 60)
    first = watch.step(Batch.empty(profile.features), rare)[0].level
    for _ in range(20):
        estimate = count(profile.features, {"expected loss": generator.beta(2, 6, 500)}, 500)
        assert watch.step(estimate, none)[0].level == pytest.approx(first)
    assert watch.step(Batch.empty(profile.features), rare)[0].level > first


def test_fifty_rows_of_reference_do_not_cry_wolf_and_still_see_a_column_that_broke() -> None:
    for seed in range(3):
        stream = Stream(reference(50, seed=seed), seed=100 + seed)
        assert not any(stream.hour(200).fired for _ in range(60))
        _, found = stream.until_fired(5, 200, x1=lambda values: values * 1000)
        assert [suspect.feature for suspect in found.suspects] == ["x1"]
    assert Stream(reference(50)).until_fired(3, 200, x3=emptied(1.0))[1].suspects[0].feature == "x3"


@pytest.mark.parametrize("rows", [1, 2])
def test_a_reference_of_hardly_a_row_says_nothing_rather_than_something_wrong(rows: int) -> None:
    stream = Stream(reference(rows))
    assert not any(stream.hour().fired for _ in range(50))


def test_state_goes_on_where_it_was_and_equal_steps_give_equal_bytes() -> None:
    profile = reference()
    whole, parts = Stream(profile), Stream(profile)
    changes: list[dict[str, Any]] = [{}, {"x1": moved(0.12)}, {"x1": moved(0.5)}, {}, {"city": emptied_city}, {}, {}]
    for change in changes * 2:
        expected = whole.hour(**change)
        kept = parts.watch.state()
        parts.watch = Watch(profile, MONITOR, state=kept)
        assert parts.watch.state() == kept
        assert parts.hour(**change) == expected
        assert parts.watch.state() == whole.watch.state()


def emptied_city(values: Any) -> Any:
    return [None] * len(values)


@pytest.mark.parametrize(
    "wrong", [b"x", b"\xc0", msgspec.msgpack.encode([9, b"", [], []]), msgspec.msgpack.encode(3)]
)
def test_bytes_that_are_no_state_are_refused(wrong: bytes) -> None:
    with pytest.raises(DataUnfit, match="does not belong to this profile"):
        Watch(reference(), MONITOR, state=wrong)


def test_the_state_of_another_profile_is_refused() -> None:
    stream = Stream(reference())
    stream.hour()
    with pytest.raises(DataUnfit, match="does not belong to this profile"):
        Watch(reference(seed=2), MONITOR, state=stream.watch.state())
    damaged = msgspec.msgpack.decode(stream.watch.state())
    damaged[3][0][2][0] = b"short"
    with pytest.raises(DataUnfit, match="does not belong to this profile"):
        Watch(stream.profile, MONITOR, state=msgspec.msgpack.encode(damaged))


def test_other_detectors_begin_anew_say_so_and_keep_the_suspects() -> None:
    stream = Stream(reference())
    assert stream.hour(x1=moved(0.5)).fired
    stream.hour(x1=moved(0.5), x2=moved(0.1))
    watch = Watch(stream.profile, MONITOR, state=stream.watch.state(), detectors=[Tilts()])
    assert any("evidence begins anew" in note for note in watch.notes)
    (found,) = watch.step(Batch.empty(stream.profile.features), stream.none)
    assert found.level == -math.inf
    assert [suspect.feature for suspect in found.suspects] == ["x1"]
    assert len(Watch(stream.profile, MONITOR, state=watch.state(), detectors=[Tilts()]).notes) == 1


def test_detectors_of_others_share_the_average() -> None:
    class Sleepy(Learned):
        name, code, weight = "sleepy", "X901", 1.0

    profile = reference()
    alone = Watch(profile, MONITOR, detectors=[Tilts()])
    shared = Watch(profile, MONITOR, detectors=[Tilts(), Sleepy()])
    batch = Stream(profile).rows(1000, {"x1": moved(0.2)})
    levels = [watch.step(batch, Batch.empty(()))[0].level for watch in (alone, shared)]
    assert levels[0] - 2.5 < levels[1] < levels[0]


def test_of_text_only_what_is_missing_counts() -> None:
    text = FeatureProfile(name="note", kind="category", categories=(), counts=(5000, 100))
    profile = Profile(features=(text,), rows=5100)
    watch, none = Watch(profile, MONITOR), Batch.empty(())

    def fired(missing: int) -> bool:
        notes: Any = [f"note {number}" for number in range(500 - missing)] + [None] * missing
        return watch.step(count(profile.features, {"note": notes}, 500), none)[0].fired

    assert not any(fired(10) for _ in range(50))
    assert fired(60)


def test_a_column_that_vanishes_is_missing_in_every_row() -> None:
    stream = Stream(reference())
    columns = numbers(stream.generator, 500) | {"city": stream.generator.choice(CITIES, 500, p=[0.5, 0.3, 0.2])}
    del columns["x3"]
    (found,) = stream.watch.step(count(stream.profile.features, columns, 500), stream.none)
    assert [suspect.feature for suspect in found.suspects] == ["x3"]


def test_shapes_that_no_dictionary_has_are_found_by_what_earlier_batches_showed() -> None:
    """Every second bin up, the others down: neither place nor spread moves, and no single cell moves far."""
    stream = Stream(reference())
    edges = stream.profile.features[2].edges
    inside = np.append(edges, edges[-1] + 1e-6)  # one value in each of the 20 bins
    comb = np.where(np.arange(20) % 2, 1.2, 0.8) / 20
    drawn = stream.generator.choice(inside, (40, 1000), p=comb)
    none = Batch.empty(())
    alone = Watch(stream.profile, MONITOR, detectors=[Tilts()])
    both = {"alone": 0, "shared": 0}
    for hour in drawn:
        batch = stream.rows(1000, {"x2": hour})
        both["shared"] += stream.watch.step(batch, none)[0].fired
        both["alone"] += alone.step(batch, none)[0].fired
    assert both == {"alone": 0, "shared": 1}


def test_notes_say_what_is_assumed() -> None:
    profile = reference(200)
    assert "cannot calibrate for dependence yet" in Watch(profile, MONITOR).notes[0]
    known = Dependence(seconds=3600.0, batches=1344, phases=168, effects={"x1": 2.0})
    learned = replace(profile, dependence=known)
    assert "1344 batches" in Watch(learned, MONITOR).notes[0]
    assert "cannot calibrate" in Watch(learned, Monitor(window="1d")).notes[0]


def test_a_design_effect_weakens_evidence_as_fewer_rows_would() -> None:
    profile = reference()
    effects = {feature.name: 4.0 for feature in profile.features}
    learned = replace(profile, dependence=Dependence(seconds=3600.0, batches=10, phases=168, effects=effects))
    plain, careful = Stream(profile), Stream(learned)
    assert plain.hour(x1=moved(0.25)).level > careful.hour(x1=moved(0.25)).level + 5
    assert careful.until_fired(3, x1=moved(0.6))[1].suspects[0].feature == "x1"


def test_a_column_with_strata_is_compared_with_its_own_hour() -> None:
    generator, n = np.random.default_rng(6), 2000
    phases = [generator.normal(1.5 * (phase % 2), size=n) for phase in range(168)]
    feature = frozen("x", np.concatenate(phases))
    strata = {"x": tuple(tuple(bins.count_numbers(each, feature.edges).tolist()) for each in phases)}
    known = Dependence(seconds=3600.0, batches=1344, phases=168, effects={"x": 1.0}, strata=strata)
    profile = Profile(features=(feature,), rows=168 * n, dependence=known)
    watch, none = Watch(profile, MONITOR), Batch.empty(())

    def hour(phase: int, mean: float) -> Evidence:
        batch = count(profile.features, {"x": generator.normal(mean, size=1000)}, 1000)
        return watch.step(batch, none, phase=phase)[0]

    assert not any(hour(phase, 1.5 * (phase % 2)).fired for phase in range(100))
    assert hour(100, 1.5).fired  # the law of an odd hour in an even one
    assert hour(101, 1.5).returned == ("x",)
    plain = Watch(replace(profile, dependence=None), MONITOR)
    batch = count(profile.features, {"x": generator.normal(0.0, size=1000)}, 1000)
    assert plain.step(batch, none, phase=0)[0].fired


def test_rows_of_no_certain_hour_are_compared_with_the_whole_week() -> None:
    """A lot that somebody plays back comes from all hours: it is no other Monday night."""
    generator, n = np.random.default_rng(6), 500
    phases = [generator.normal(1.5 * (phase % 2), size=n) for phase in range(168)]
    feature = frozen("x", np.concatenate(phases))
    strata = {"x": tuple(tuple(bins.count_numbers(each, feature.edges).tolist()) for each in phases)}
    known = Dependence(seconds=3600.0, batches=1344, phases=168, effects={"x": 1.0}, strata=strata)
    profile, none = Profile(features=(feature,), rows=168 * n, dependence=known), Batch.empty(())
    lot = count(profile.features, {"x": generator.normal(1.5 * (np.arange(1000) % 2))}, 1000)
    assert not Watch(profile, MONITOR).step(lot, none)[0].fired
    assert Watch(profile, MONITOR).step(lot, none, phase=0)[0].fired


@pytest.mark.parametrize(("daily", "samples"), [(True, 25), (False, 169)])
def test_hours_that_look_alike_share_the_chance_as_others_do(daily: bool, samples: int) -> None:
    """Each hour is a sample of its own, also where two of them have the same counts; and so is the whole week."""
    feature = FeatureProfile(name="x", kind="category", categories=("a",), counts=(1680, 168, 0))
    rows = [(9, 2, 0) if (place % 24 if daily else place) == 0 else (10, 1, 0) for place in range(168)]
    known = Dependence(seconds=3600.0, batches=1344, phases=168, effects={}, strata={"x": tuple(rows)})
    profile = Profile(features=(feature,), rows=1848, dependence=known)
    asked: list[float] = []

    class Asked(Tilts):
        def plan(self, reference: Reference, *, share: float) -> Any:
            asked.extend(reference.delta.tolist())
            return super().plan(reference, share=share)

    Watch(profile, MONITOR, detectors=[Asked()])
    assert asked == pytest.approx([0.05 / samples])
