"""Where a version that was built again parts from what it was, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fullcircle.development.environment import LOCAL, VARIABLES
from fullcircle.flows.drafts import Draft
from fullcircle.types.reproduction import Compared, Part, Refitted, Reproduction

_SHOWN = 6
_STEADY = (
    "give every model and split in fit a random_state; let fit read no clock, no file that changes and no order of "
    "a set, and draw from no generator without a seed"
)
_ALONE = "look at what fit reads beside its arguments: files, variables, a generator that other candidates draw from"


def judged(draft: Draft, found: Refitted | str, *, version: int, clean: bool) -> Reproduction:
    """What the child found, judged. ``found`` in words says why there is no environment to fit in."""
    if isinstance(found, str):
        advice = "have an index serve these packages again, or try with what is installed: --here"
        compared: tuple[Compared, ...] = (Compared(part="packages", same=False, text=found, advice=advice),)
        return _made(draft, Refitted(), version, clean, compared)
    return _made(draft, found, version, clean, tuple(_compared(draft, found, clean)))


def _made(draft: Draft, found: Refitted, version: int, clean: bool, compared: tuple[Compared, ...]) -> Reproduction:
    same = found.golden_same and not found.other_rows
    first: Part = next((each.part for each in compared if not each.same), "answers")
    return Reproduction(
        model=draft.model,
        version=version,
        run=draft.run,
        same=same,
        parted="" if same else first,
        clean=clean,
        compared=compared,
        golden_rows=found.golden_rows,
        largest_difference=found.golden_difference,
        differences=found.differences,
        rows=found.rows,
        other_rows=found.other_rows,
        metric=draft.metric,
        metric_stored=found.metric_stored,
        metric_now=found.metric_now,
    )


def _compared(draft: Draft, found: Refitted, clean: bool) -> Iterator[Compared]:
    if found.code:
        same = found.code == draft.code_version
        yield Compared(
            part="code",
            same=same,
            text="the source is that of the run" if same else "the source reads otherwise than in the run",
            advice="" if same else "this fullcircle reads a project's files in another way: leave --here away",
        )
    yield from _surroundings(draft, found, clean)
    if found.failed:
        yield Compared(part="fit", same=False, text=found.failed, advice=_advice_on_failure(clean))
        return
    yield Compared(
        part="contract",
        same=not found.contract,
        text=f"differs in {_few(found.contract)}" if found.contract else "the same contract was learned",
        advice="a pandas of another version may tell kinds and ranges otherwise" if found.contract else "",
    )
    yield from _model(draft, found)
    yield Compared(
        part="answers",
        same=found.golden_same and not found.other_rows,
        text=_answers(found),
        advice="" if found.golden_same and not found.other_rows else "see what differs above",
    )
    yield Compared(
        part="metric",
        same=found.metric_now == found.metric_stored,
        text=f"{draft.metric} {_number(found.metric_now)}, of the stored model {_number(found.metric_stored)}",
    )


def _surroundings(draft: Draft, found: Refitted, clean: bool) -> Iterator[Compared]:
    was, now = draft.machine, found.machine
    if was:
        same = was.get("python") == now.get("python")
        yield Compared(
            part="python",
            same=same,
            text=f"Python {now.get('python')}" + ("" if same else f", and {was.get('python')} then"),
            advice="" if same else f"install Python {was.get('python')} and run fullcircle with it",
        )
    if draft.environment:
        others = list(_others(draft.environment, found.environment))
        text = f"the {len(draft.environment)} distributions it was trained with"
        advice = "leave --here away, so that an environment of these versions is made" if not clean else ""
        yield Compared(
            part="packages", same=not others, text=_few(others) if others else text, advice=advice if others else ""
        )
    if was:
        others = [
            f"{name} {now.get(name, 'not set')}, and {was.get(name, 'not set')} then"
            for name in ("platform", "cpu", "cores", *VARIABLES)
            if was.get(name) != now.get(name)
        ]
        advice = (
            "processor and threads decide on the order of sums: fit on such a machine, or train with fewer threads"
        )
        yield Compared(
            part="machine",
            same=not others,
            text=_few(others) if others else f"{now.get('cpu')}, {now.get('cores')} cores",
            advice=advice if others else "",
        )


def _others(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Distributions of another version. What is not loaded any more plays no part; what came in may."""
    for name, version in was.items():
        if name in now and now[name].removesuffix(LOCAL) != version.removesuffix(LOCAL):
            yield f"{name} {now[name]}, and {version} then"


def _model(draft: Draft, found: Refitted) -> Iterator[Compared]:
    same = found.model == draft.model_blob
    if found.steady is False:
        text = "fitted twice on the same rows, it gives two different models"
        yield Compared(part="fit", same=False, text=text, advice=_STEADY)
    if not found.stored_same:
        by = "more than a number" if found.stored_difference is None else f"{found.stored_difference:g}"
        text = f"the stored model itself answers the golden rows differently here, by {by}"
        advice = "its libraries or its processor compute otherwise: see what differs above"
        yield Compared(part="machine", same=False, text=text, advice=advice)
    yield Compared(
        part="model",
        same=same,
        text="the model's file has the same bytes" if same else "the model's file has other bytes",
        advice="" if same or found.steady is False else _ALONE,
    )


def _answers(found: Refitted) -> str:
    if found.golden_same and not found.other_rows:
        return f"{found.golden_rows} golden rows and {found.rows} test rows are answered with the same bits"
    by = "in more than a number" if found.golden_difference is None else f"by at most {found.golden_difference:g}"
    golden = "all golden rows the same" if found.golden_same else f"golden rows differ {by}"
    return f"{golden}; {found.other_rows} of {found.rows} test rows are answered differently"


def _advice_on_failure(clean: bool) -> str:
    told = "fit gets only the rows and the project's Python files: what else it reads has to come with them"
    return told if clean else f"{told}; leave --here away to have the packages of the training"


def _few(texts: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.6g}"
