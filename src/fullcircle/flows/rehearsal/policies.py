"""Policies that are played side by side, and the dotted names by which one setting of a project is tried."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import FullcircleError, SettingInvalid
from fullcircle.flows.session import with_params
from fullcircle.types.project import Monitor, Project, Retrain

SHIPPED, NEVER, HINDSIGHT = "shipped", "never", "hindsight"
CALENDAR = "schedule 30d"
_NOTHING = {"retrain.triggers": "", "retrain.schedule": "", "retrain.rows": "0"}
_PARTS: Mapping[str, type[Any]] = {"monitor": Monitor, "retrain": Retrain}
_LEFT_OUT = {"monitor.notify", "monitor.cooldown", "monitor.confirm", "retrain.approve"}
_OWN = ("test", "seed", "candidates")


@dataclass(frozen=True)
class Tried:
    """One policy before it is played: its name, and the settings that differ from the project's."""

    name: str
    changes: Mapping[str, str] = field(default_factory=dict)


def policies(tries: Sequence[str]) -> tuple[Tried, ...]:
    """The project as it is, never retraining, the calendar, and each ``KEY=VALUE`` alone."""
    found = [
        Tried(SHIPPED),
        Tried(NEVER, _NOTHING),
        Tried(CALENDAR, {**_NOTHING, "retrain.schedule": "30d", "retrain.cooldown": "0s"}),
    ]
    for text in dict.fromkeys(tries):
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SettingInvalid(
                "--try cannot be read",
                received=text,
                allowed="KEY=VALUE",
                next_step='write for example --try retrain.schedule="30d"',
            )
        key, said = name.strip(), value.strip().strip("\"'")
        found.append(Tried(f"{key}={said}", {key: said}))
    return tuple(found)


def changed(source: LoadedProject, changes: Mapping[str, str]) -> LoadedProject:
    """The project with these settings. Raises SettingInvalid for a name or a value that is not allowed."""
    for key, text in changes.items():
        source = _changed(source, key, text)
    return source


def names(source: LoadedProject) -> tuple[str, ...]:
    """What can be tried of a project. ``params.*`` is there where its fit takes any."""
    parts = [f"{part}.{each.name}" for part, kind in _PARTS.items() for each in fields(kind)]
    own = [name for name in _OWN if name != "candidates" or len(source.project.fits) > 1]
    return (*(name for name in parts if name not in _LEFT_OUT), *_params(source.project), *own)


def _params(project: Project) -> Iterator[str]:
    """The parameters that the project names, and those of its fits; ``params.*`` where one takes whatever comes."""
    found, any_name = dict.fromkeys(project.params), False
    for fit in project.fits.values():
        try:
            taken = list(inspect.signature(fit).parameters.values())[2:]
        except (TypeError, ValueError):
            any_name = True
            continue
        any_name = any_name or any(each.kind is each.VAR_KEYWORD for each in taken)
        found |= {each.name: None for each in taken if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    yield from (f"params.{name}" for name in found)
    if any_name:
        yield "params.*"


def _changed(source: LoadedProject, key: str, text: str) -> LoadedProject:
    known = names(source)
    part, dot, name = key.partition(".")
    if key not in known and not (part == "params" and dot and name.isidentifier() and "params.*" in known):
        raise SettingInvalid(
            "there is nothing of this name to try",
            received=key,
            allowed=", ".join(known),
            next_step="name one of these: --try KEY=VALUE",
        )
    project = source.project
    try:
        if part == "params":
            return with_params(source, {name: text})
        if part in _PARTS:
            old = getattr(project, part)
            value = _read(key, text, next(each for each in fields(old) if each.name == name), getattr(old, name))
            return replace(source, project=replace(project, **{part: replace(old, **{name: value})}))
        return replace(source, project=_own(project, key, text))
    except SettingInvalid:
        raise
    except FullcircleError as error:
        raise _refused(key, text, error.allowed or error.what) from error


def _own(project: Project, key: str, text: str) -> Project:
    if key == "candidates":
        chosen = [name.strip() for name in text.split(",")]
        if not chosen or set(chosen) - set(project.candidates):
            raise _refused(key, text, ", ".join(project.candidates))
        return replace(project, candidates={name: project.candidates[name] for name in chosen})
    kind: Any = float if key == "test" else int
    return replace(project, **{key: _number(key, text, kind)})


def _read(key: str, text: str, told: Any, present: Any) -> Any:
    """The text as a value of the field's type."""
    kind = str(told.type)
    if kind == "int":
        return _number(key, text, int)
    if kind.startswith("float"):
        return _number(key, text, float)
    if kind.startswith("Sequence"):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    return text


def _number(key: str, text: str, kind: Any) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise _refused(key, text, "a whole number" if kind is int else "a number") from error


def _refused(key: str, text: str, allowed: str) -> SettingInvalid:
    return SettingInvalid(
        f"{key} cannot be tried with this value", received=text, allowed=allowed, next_step=f"write --try {key}=VALUE"
    )
