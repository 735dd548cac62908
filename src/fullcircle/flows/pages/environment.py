"""The Jinja2 environment of every page: filters for figures, charts drawn, all text escaped."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from fullcircle.errors import MissingExtra
from fullcircle.flows.pages import charts, words
from fullcircle.types.report import Chart

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def environment(*, interactive: bool = False) -> Environment:
    """What renders one page; charts are numbered anew in each. ``interactive`` puts each chart's specification in.

    Raises MissingExtra where Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtra(
            "the page cannot be made, because Jinja2 is not installed",
            next_step='pip install "fullcircle[lab]"',
        ) from error
    made = Environment(
        loader=PackageLoader("fullcircle.flows.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    number = count(1)

    # Two texts are not escaped: SVG from our renderer, looked through by charts.svg, and JSON without "<", ">", "&".
    def draw(chart: Chart) -> Markup | None:
        drawn = charts.svg(chart, f"c{next(number)}")
        return None if drawn is None else Markup(drawn)  # noqa: S704

    def live(chart: Chart) -> Markup | None:
        return Markup(charts.inline(chart)) if interactive else None  # noqa: S704

    filters = (words.figure, words.seconds, words.size, words.when, words.short, words.plural)
    made.filters.update({each.__name__: each for each in filters})
    made.globals.update(interval=words.interval, stretch=words.stretch, draw=draw, live=live)
    return made
