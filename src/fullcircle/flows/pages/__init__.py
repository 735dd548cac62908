"""Pages: a turn, a report, a comparison and a model in production as one HTML file each; the card in Markdown."""

from fullcircle.flows.pages.card import model_card
from fullcircle.flows.pages.comparison import render_comparison
from fullcircle.flows.pages.monitored import render_monitored
from fullcircle.flows.pages.page import render
from fullcircle.flows.pages.report import decode_report, render_report

__all__ = ["decode_report", "model_card", "render", "render_comparison", "render_monitored", "render_report"]
