"""Pages: a turn, a report, a comparison, a model in production, a rehearsal and a replay as one HTML file each.

The card is Markdown.
"""

from fullcircle.flows.pages.card import model_card
from fullcircle.flows.pages.comparison import render_comparison
from fullcircle.flows.pages.monitored import render_monitored
from fullcircle.flows.pages.page import render
from fullcircle.flows.pages.rehearsal import render_rehearsal
from fullcircle.flows.pages.replayed import render_replayed
from fullcircle.flows.pages.report import decode_report, render_report

__all__ = [
    "decode_report",
    "model_card",
    "render",
    "render_comparison",
    "render_monitored",
    "render_rehearsal",
    "render_replayed",
    "render_report",
]
