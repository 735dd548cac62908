"""What happened in a rehearsal, as a list of entries and as marks under a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fullcircle.flows.pages.monitored import day
from fullcircle.flows.pages.played import Timeline
from fullcircle.flows.pages.sums import cut, dated, in_short, sentence
from fullcircle.flows.pages.ticks import moment
from fullcircle.types.loop import Policy, Told

WORDS = {
    "start": ("info", "Begun", "i"),
    "alarm": ("bad", "Alarm", "!"),
    "resolved": ("good", "Resolved", "✓"),
    "hold": ("hold", "Held", "Ⅱ"),
    "promote": ("good", "Promoted", "▲"),
    "rollback": ("bad", "Taken back", "↩"),
}
LANES = (("alarm", "alarms"), ("hold", "held"), ("promote", "promoted"), ("rollback", "taken back"))
_NEAR = 0.028  # marks nearer than this share of the width are one
_LINE = 220  # letters of a line of the story
_SHOWN = 6  # of those behind one mark


@dataclass(frozen=True)
class Entry:
    """One line of the story. ``ended`` is when an alarm was resolved (UTC, ISO 8601), "" where it was not."""

    id: str
    told: Told
    tone: str
    word: str
    ended: str = ""

    @property
    def day(self) -> str:
        """When it happened."""
        return day(self.told.at)

    @property
    def until(self) -> str:
        """The day on which the alarm was resolved, "" where it was not."""
        return day(self.ended) if self.ended else ""

    @property
    def whole(self) -> str:
        """What was decided, without why: the step has that. Of an alarm, what it says."""
        text, step = self.told.text, self.told.step
        if step is not None and step.trigger is not None:
            text = text.rpartition(step.trigger.reason)[2].lstrip("; ,") or text
        return sentence(dated(text))

    @property
    def said(self) -> str:
        """The same, cut where it is long and the step has it whole."""
        return self.whole if self.told.step is None else cut(self.whole, _LINE)

    @property
    def tip(self) -> str:
        """What stands under the pointer: what, why, and the sums."""
        lines = [f"{self.day}: {self.word.lower()}", cut(self.whole, _LINE)]
        if self.told.alarm is not None:
            lines.append(f"until {self.until}" if self.until else "not resolved")
        if self.told.step is not None:
            lines.append(in_short(self.told.step))
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Mark:
    """One or more entries at one place (a share of the width). ``word`` is for those who cannot see it."""

    x: float
    tone: str
    sign: str
    word: str
    tip: str
    id: str


@dataclass(frozen=True)
class Lane:
    """The marks of one kind, and for alarms the spans (left, width, severity) in which one was open."""

    name: str
    kind: str
    marks: tuple[Mark, ...]
    spans: tuple[tuple[float, float, str], ...] = ()


def entries(policy: Policy, key: str) -> list[Entry]:
    """The story of a policy; the end of an alarm stands at its beginning, where the story holds that."""
    begun = {each.alarm.id for each in policy.told if each.kind == "alarm" and each.alarm is not None}
    ended = {each.alarm.id: each.at for each in policy.told if each.kind == "resolved" and each.alarm is not None}
    found = list[Entry]()
    for each in policy.told:
        if each.kind == "resolved" and each.alarm is not None and each.alarm.id in begun:
            continue
        tone, word, _ = WORDS[each.kind]
        end = ""
        if each.kind == "alarm" and each.alarm is not None:
            tone = "bad" if each.alarm.severity == "page" else "hold"
            word = each.alarm.severity.capitalize()
            end = ended.get(each.alarm.id, each.alarm.resolved)
        elif each.kind == "promote" and each.version is not None:
            word = f"Version {each.version} promoted"
        elif each.kind == "rollback" and each.version is not None:
            word = f"Back to version {each.version}"
        found.append(Entry(f"{key}-{len(found)}", each, tone, word, end))
    return found


def lanes(own: Sequence[Entry], timeline: Timeline) -> list[Lane]:
    """The marks under a picture, a lane for each kind that occurs."""
    found = list[Lane]()
    for kind, name in LANES:
        placed = [
            (x, each) for each in own if each.told.kind == kind and (x := timeline.place(each.told.at)) is not None
        ]
        if placed:
            spans = tuple(_spans(placed, timeline)) if kind == "alarm" else ()
            found.append(Lane(name, kind, tuple(_marks(placed, name)), spans))
    return found


def lines(own: Iterable[Entry]) -> list[tuple[float, float, str]]:
    """Promotions and rollbacks as lines through the pictures."""
    found = list[tuple[float, float, str]]()
    for each in own:
        at = moment(each.told.at)
        if at is not None and each.told.kind in ("promote", "rollback"):
            found.append((at, at, each.told.kind))
    return found


def _marks(placed: Sequence[tuple[float, Entry]], name: str) -> Iterable[Mark]:
    groups: list[list[tuple[float, Entry]]] = []
    for x, each in sorted(placed, key=lambda pair: pair[0]):
        if groups and x - groups[-1][0][0] < _NEAR:
            groups[-1].append((x, each))
        else:
            groups.append([(x, each)])
    for group in groups:
        x, first = group[0]
        _, _, sign = WORDS[first.told.kind]
        tones = [each.tone for _, each in group]
        tone = "bad" if "bad" in tones else tones[0]
        if len(group) == 1:
            yield Mark(x, tone, sign, f"{first.day}: {first.word}", first.tip, first.id)
            continue
        tips = [each.tip.split("\nWhy:")[0] for _, each in group[:_SHOWN]]
        more = [f"and {len(group) - _SHOWN} more"] if len(group) > _SHOWN else []
        word = f"{len(group)} {name} from {first.day} to {group[-1][1].day}"
        yield Mark(x, tone, str(len(group)), word, "\n\n".join([*tips, *more]), first.id)


def _spans(placed: Sequence[tuple[float, Entry]], timeline: Timeline) -> Iterable[tuple[float, float, str]]:
    for x, each in placed:
        right = timeline.place(each.ended) if each.ended else 1.0
        if each.told.alarm is not None and right is not None:
            yield (x, max(0.0, right - x), each.told.alarm.severity)
