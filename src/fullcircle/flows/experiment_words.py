"""What is known of an experiment, in words: which is better, by how much, how sure, and when it will likely know."""

from __future__ import annotations

from fullcircle.flows.compared import too_few
from fullcircle.types.experiments import Difference, Experiment, Plan


def text_of(found: Experiment) -> str:
    """The verdict in a few sentences."""
    said = _finding(found)
    if found.ended:
        why = f": {found.reason.rstrip('.')}" if found.reason and found.ended != "promoted" else ""
        return f"{said} It was {found.ended} on {found.at[:10]}{why}."
    return f"{said} {when(found) if found.verdict.state == 'running' else next_step(found)}"


def _finding(found: Experiment) -> str:
    verdict, plan = found.verdict, found.plan
    champion, version = (arm.version for arm in plan.arms)
    difference = verdict.difference
    if verdict.state == "untrusted":
        broken = "; ".join(f"{each.name}: {each.text}" for each in verdict.trust if not each.holds)
        return f"Nothing can be said: what is compared is not alike ({broken}). Mend that and begin again."
    if verdict.state == "broken":
        broken = "; ".join(each.text for each in verdict.guardrails if not each.holds)
        return f"Version {version} broke a guardrail ({broken}), whatever else it does."
    if verdict.standing in ("better", "worse"):
        return (
            f"Version {version} is {verdict.standing} than version {champion} in {named(plan)}: "
            f"{between(difference)}. {sure(found)}"
        )
    if verdict.standing == "same":
        return (
            f"Version {version} is as good as version {champion} in {named(plan)}: the difference is less than "
            f"{plan.effect:g} either way ({between(difference)}). {sure(found)}"
        )
    if difference.value is None:
        return f"Nothing is known yet of version {version} beside version {champion}: no row counts so far."
    return (
        f"It is not known yet whether version {version} is better than version {champion} in {named(plan)}: "
        f"{between(difference)}."
    )


def named(plan: Plan) -> str:
    """What is compared, and which way is good."""
    return f"{plan.metric.name}, where {'more' if plan.metric.better == 'up' else 'less'} is better"


def next_step(found: Experiment) -> str:
    """What to do with one that runs on though it is known how it ends."""
    if found.verdict.state == "decided" and found.verdict.standing == "better":
        return "Make it champion: fullcircle experiment stop PROJECT --promote."
    return "End it: fullcircle experiment stop PROJECT."


def sure(found: Experiment) -> str:
    """How sure a verdict is, in words; of one that is not there yet, how sure it will be."""
    said = {"same": ("the difference is that large", "say so"), "undecided": ("nothing differs", "find a difference")}
    world, claim = said.get(found.verdict.standing, ("nothing differs", "say so"))
    most = f"{100 * found.plan.alpha:.3g}%"
    return f"Of experiments in which {world} at most {most} ever {claim}, at however many looks."


def when(found: Experiment) -> str:
    """When it will likely know."""
    verdict, plan = found.verdict, found.plan
    if verdict.rows_left is None:
        return "Nobody can say when it will be known."
    rows = "1 more row" if verdict.rows_left == 1 else f"{verdict.rows_left:,} more rows"
    told = f"It will likely know after about {rows} with a label"
    if verdict.days_left is None:
        return f"{told}; how many come a day is not known."
    late = f", and the {days(plan.label_delay_days)} that labels take" if plan.label_delay_days else ""
    return f"{told}: {days(verdict.days_left)}{late}."


def planned(plan: Plan) -> str:
    """The plan in words: size and duration."""
    told = (
        f"{plan.rows:,} rows show a difference of {number(plan.effect)} {plan.metric.unit}".rstrip()
        + f" with a chance of {plan.power:.0%} at least, {plan.likely_rows:,} rows with a half"
    )
    if plan.days is None or plan.likely_days is None:
        return f"{told}; how long that takes nobody can say."
    often = "" if plan.valued == 1.0 else f", of which {plan.valued:.0%} get a value"
    return (
        f"{told}: {days(plan.days)}, or likely {days(plan.likely_days)}, at {plan.rows_a_day:,.0f} rows a day{often}."
    )


def between(difference: Difference) -> str:
    """A difference with its bounds: "+0.31 EUR (0.12 to 0.5)"."""
    if difference.value is None:
        return "nothing is known yet"
    value = f"{number(difference.value, sign=True)} {difference.unit}".rstrip()
    if difference.low is None or difference.high is None:
        return f"{value}, with no bounds yet"
    return f"{value} ({number(difference.low, sign=True)} to {number(difference.high, sign=True)})"


def days(value: float) -> str:
    """A span of days for people."""
    minutes = max(1, round(value * 1440))
    if minutes < 60:
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    hours = round(value * 24)
    if hours < 24:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    told = f"{value:,.0f}" if value >= 10 else f"{max(value, 1.0):.2g}"
    return f"{told} day{'' if told == '1' else 's'}"


def number(value: float, *, sign: bool = False) -> str:
    """A figure with four digits that mean something; a large one, such as money a day, is written out: "-367,500"."""
    told = f"{value:{'+' if sign else ''}.4g}"
    return f"{float(told):{'+' if sign else ''},.0f}" if 1e4 <= abs(float(told)) < 1e15 else told


def notes_of(found: Experiment) -> tuple[str, ...]:
    """What one has to know to believe it."""
    plan = found.plan
    notes = [f"assumed in the plan: {each}" for each in plan.assumed]
    if found.mode == "split":
        notes.append("a row counts for the version that it was dealt to, also where the champion had to stand in")
    if plan.metric.kind in ("proportion", "mean"):
        notes.append("of rows that were asked together the first one counts: by the plan, rows come one by one")
    if found.mode == "split" and not plan.metric.entity:
        notes.append("callers must not send X-Entity: the log does not say which rows it kept together")
    if plan.metric.kind in ("ratio", "paired"):
        notes.append("the bounds hold in the limit of many units; before their burn-in nothing is said")
    if plan.floor is not None:
        notes.append(f"shares are learned once a day, each at least {plan.floor:.0%}")
    return (*notes, *_entities(found))


def _entities(found: Experiment) -> tuple[str, ...]:
    """How many entities there are, and how many rows are of none."""
    verdict, by = found.verdict, ", ".join(found.plan.metric.entity)
    rows = sum(each.rows for each in verdict.arms) // (2 if found.mode == "shadow" else 1)
    if verdict.entities is None or not rows:
        return ()
    few = too_few(verdict.entities, rows - verdict.loose)
    never = ": by so few nothing is ever known" if few else ""
    notes = [f"rows came of {verdict.entities:,} entities so far ({by}){never}"]
    if verdict.loose:
        notes.append(
            f"{verdict.loose:,} of {rows:,} rows had no value of {by}: each of their requests was dealt anew"
        )
    return tuple(notes)
