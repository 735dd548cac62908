from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from form_samples import Matrix, Sample, columns, contract, drawn, fitted, same_bits
from fullcircle.runtimes.forms import certificate, probes
from fullcircle.runtimes.forms.certificate import CANDIDATES, Candidate, Chosen, choose, kept, told
from fullcircle.types.contract import Column, Contract
from fullcircle.types.form import Certificate

PINNED = ("numpy", "pandas", "scikit-learn", "scipy")


@cache
def boosted() -> Sample:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return fitted(lambda: HistGradientBoostingClassifier(max_iter=5), contract(2, columns(whole=True)), count=200)


class Altered:
    """A form that answers as another one does, but for what ``change`` makes of it."""

    name = "trees"
    probable = True

    def __init__(self, form: Any, change: Any) -> None:
        self.form = form
        self.change = change

    def ask(self, matrix: Matrix) -> Any:
        return self.change(matrix, *self.form.ask(matrix))


def with_lie(sample: Sample, change: Any) -> Chosen:
    def make(about: Contract, model: Any) -> Candidate:
        true = CANDIDATES["trees"](about, model)
        return replace(true, form=Altered(true.form, change))

    return choose(sample.contract, sample.model, sample.values, candidates={"lie": make})


def test_trees_are_chosen_with_the_same_bits() -> None:
    sample = boosted()
    chosen = choose(sample.contract, sample.model, sample.values)
    found = chosen.certificate
    assert (found.form, found.same_bits, found.largest_difference, found.tolerance) == ("trees", True, 0.0, 0.0)
    assert found.rows > len(sample.rows)
    assert found.seconds[0] < found.native_seconds[0]
    assert found.seconds[1] < found.native_seconds[1]
    assert {name for name, _ in found.versions} >= {"python", "numpy", "scikit-learn"}
    assert chosen.data is not None
    assert same_bits(chosen.form.ask(sample.rows)[1], sample.native.ask(sample.rows)[1])
    assert told(found).startswith("the form trees answers: the same bits on ")


def test_weights_are_chosen_within_their_tolerance() -> None:
    from sklearn.linear_model import Ridge

    sample = fitted(Ridge, contract(0, columns(missing=False)))
    found = choose(sample.contract, sample.model, sample.values).certificate
    assert (found.form, found.tolerance) == ("linear", 1e-12)
    assert found.largest_difference <= 1e-12
    assert found.refused == (("trees", "Ridge is no ensemble of trees that is known"),)


def test_an_array_where_nothing_is_compiled_and_a_frame_where_that_fails_too() -> None:
    from sklearn.naive_bayes import GaussianNB

    sample = fitted(GaussianNB, contract(2, columns(missing=False)))
    chosen = choose(sample.contract, sample.model, sample.values)
    assert (chosen.certificate.form, chosen.data) == ("array", None)
    assert [name for name, _ in chosen.certificate.refused] == ["trees", "linear"]

    class Own(GaussianNB):  # type: ignore[misc]
        pass

    own = fitted(Own, sample.contract)
    chosen = choose(own.contract, own.model, own.values)
    assert chosen.certificate.form == "frame"
    assert dict(chosen.certificate.refused)["array"] == "Own is not scikit-learn's own"
    assert "as it was fitted" in told(chosen.certificate)
    assert chosen.form.ask(own.rows)[0].tolist() == own.native.ask(own.rows)[0].tolist()


@pytest.mark.parametrize("kind", ["text", "time"])
def test_a_contract_with_text_or_times_keeps_its_frame(kind: Any) -> None:
    about = Contract(columns=(Column(name="t", kind=kind),), label="y", task="regression")
    chosen = choose(about, object(), [{"t": "x"}])
    assert chosen.certificate.form == "frame"
    assert dict(chosen.certificate.refused) == dict.fromkeys(CANDIDATES, "a column holds text or times")


def test_nothing_is_proven_without_rows() -> None:
    sample = boosted()
    chosen = choose(sample.contract, sample.model, [{"n0": "no number"}])
    assert dict(chosen.certificate.refused)["trees"] == "there is no row to compare"


def last_bit(matrix: Matrix, answers: Any, chances: Any) -> Any:
    off = chances.copy()
    off[-1, 0] = np.nextafter(off[-1, 0], 2.0)
    return answers, off


def other_class(matrix: Matrix, answers: Any, chances: Any) -> Any:
    off = answers.copy()
    off[len(off) // 2] = 1 - off[len(off) // 2]
    return off, chances


def no_missing(matrix: Matrix, answers: Any, chances: Any) -> Any:
    return answers, np.where(np.isnan(matrix[:, :1]), np.nan, chances)


def at_the_edge(matrix: Matrix, answers: Any, chances: Any) -> Any:
    """Wrong only where a value is the number beside a whole thousandth: no drawn row is."""
    near = np.nextafter(matrix[:, 0].round(3), np.inf) == matrix[:, 0]
    return answers, np.where(near[:, None], chances[:, ::-1], chances)


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (last_bit, "differ"),
        (other_class, "another class"),
        (no_missing, "refuses rows that the model answers"),
        (at_the_edge, "differ"),
    ],
)
def test_a_form_that_lies_is_refused(lie: Any, why: str) -> None:
    chosen = with_lie(boosted(), lie)
    assert chosen.certificate.form == "frame"
    assert chosen.data is None
    assert why in dict(chosen.certificate.refused)["lie"]


def test_a_form_that_answers_what_the_model_refuses_is_refused() -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    about = contract(2, columns(missing=False))
    sample = fitted(lambda: GradientBoostingClassifier(n_estimators=3), about)
    lenient = replace(about, columns=tuple(replace(column, nullable=True) for column in about.columns))

    def kinder(matrix: Matrix, answers: Any, chances: Any) -> Any:
        return answers, np.nan_to_num(chances, nan=0.5)

    chosen = with_lie(replace(sample, contract=lenient), kinder)
    assert "answers rows that the model refuses" in dict(chosen.certificate.refused)["lie"]


def test_no_clock_decides() -> None:
    """A form that a busy machine happens to slow down is chosen all the same: the bundle must not depend on it."""

    def slow(matrix: Matrix, answers: Any, chances: Any) -> Any:
        time.sleep(0.05 if len(matrix) == 64 else 0)
        return answers, chances

    chosen = with_lie(boosted(), slow)
    assert chosen.certificate.form == "trees"
    assert chosen.certificate.seconds[1] > chosen.certificate.native_seconds[1]


def test_the_kept_certificate_says_nothing_that_differs_between_machines() -> None:
    from sklearn.linear_model import Ridge

    sample = boosted()
    one, two = (choose(sample.contract, sample.model, sample.values).certificate for _ in range(2))
    assert one.seconds > (0.0, 0.0)
    assert kept(one, PINNED) == kept(two, PINNED)
    assert (kept(one, PINNED).same_bits, kept(one, PINNED).largest_difference) == (True, 0.0)
    weights = fitted(Ridge, contract(0, columns(missing=False)))
    told_of = choose(weights.contract, weights.model, weights.values).certificate
    other = replace(told_of, largest_difference=told_of.largest_difference / 2 + 1e-16, same_bits=False)
    assert kept(told_of, PINNED) == kept(other, PINNED)
    assert kept(told_of, PINNED).largest_difference == 1e-12


def test_the_kept_certificate_names_libraries_of_the_lock_only() -> None:
    """Not those that happen to be installed, or loaded by something else in the same process."""
    versions = (("python", "3.11.9"), ("numpy", "2.0"), ("scikit-learn", "1.9"), ("scipy", "1.14"))
    found = Certificate(versions=versions)
    assert kept(found, {"numpy", "pandas"}).versions == versions[:2]
    assert kept(found, {"scipy", "numpy", "scikit-learn"}).versions == versions
    assert kept(found, ()).versions == versions[:1]
    code = "from fullcircle.runtimes.forms import certificate; print(certificate._versions())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(certificate._versions()), "whatever is loaded"


def test_a_form_without_chances_is_refused() -> None:
    def mute(matrix: Matrix, answers: Any, chances: Any) -> Any:
        return answers, None

    def make(about: Contract, model: Any) -> Candidate:
        true = CANDIDATES["trees"](about, model)
        form = Altered(true.form, mute)
        form.probable = False
        return replace(true, form=form)

    sample = boosted()
    chosen = choose(sample.contract, sample.model, sample.values, candidates={"mute": make})
    assert "no probabilities" in dict(chosen.certificate.refused)["mute"]


def test_what_another_scikit_learn_breaks_is_not_compiled() -> None:
    def broken(about: Contract, model: Any) -> Candidate:
        raise AttributeError("_predictors")

    sample = boosted()
    chosen = choose(sample.contract, sample.model, sample.values, candidates={"broken": broken})
    assert dict(chosen.certificate.refused) == {"broken": "it could not be made (AttributeError)"}


def test_a_class_of_ones_own_is_never_asked_for_thousands_of_rows() -> None:
    class Slow:
        def __init__(self) -> None:
            self.asked = 0

        def predict(self, frame: Any) -> Any:
            self.asked += len(frame)
            return np.zeros(len(frame))

    about = contract(0, columns(missing=False))
    slow = Slow()
    chosen = choose(about, slow, [{"n0": 0.5, "n1": 0.5, "n2": 0.5}] * 500)
    assert chosen.certificate.form == "frame"
    assert slow.asked == 0


def test_a_model_that_refuses_its_rows_is_left_as_it_is() -> None:
    class Broken:
        def predict(self, frame: Any) -> Any:
            raise RuntimeError

    about = contract(0, columns(missing=False))
    chosen = choose(about, Broken(), [{"n0": 0.5, "n1": 0.5, "n2": 0.5}])
    assert chosen.certificate.form == "frame"


def test_threads_of_a_forest_do_not_spoil_the_comparison() -> None:
    from sklearn.ensemble import RandomForestClassifier

    sample = fitted(lambda: RandomForestClassifier(8, n_jobs=2, random_state=0), contract(2, columns()))
    assert choose(sample.contract, sample.model, sample.values).certificate.same_bits


def test_probes_stand_at_every_limit_and_around_it() -> None:
    about = contract(0, columns(numbers=1, whole=True))
    rows = drawn(about, 40, 0)
    at = {0: np.array([0.1]), 1: np.array([2.5])}
    found = probes.boundary(about, rows, at, 0)
    single = float(np.float32(0.1))
    wanted = {0.1, np.nextafter(0.1, 1), np.nextafter(0.1, -1), single, np.nextafter(single, 1), 0.0, 3.0, -3.0}
    assert wanted <= set(found[:, 0].tolist())
    assert {1.0, 2.0, 3.0} <= set(found[:, 1].tolist())
    assert np.array_equal(found[:, 1], np.round(found[:, 1]))
    assert set(found[:, 2].tolist()) == {0.0, 1.0}
    assert np.signbit(found[found[:, 0] == 0.0, 0]).any()
    lacking = probes.missing(about, rows, 0)
    assert np.isnan(lacking[:, 0]).all()
    assert not np.isnan(lacking[:, 1:]).any()


def test_certificates_hold_no_value_of_a_row() -> None:
    sample = boosted()
    private = replace(sample.contract, columns=tuple(replace(c, private=True) for c in sample.contract.columns))
    found = choose(private, sample.model, sample.values).certificate
    assert isinstance(found, Certificate)
    assert found.form == "trees"
    assert certificate.MOST_ROWS == 2000
