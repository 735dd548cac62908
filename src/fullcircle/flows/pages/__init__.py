"""Pages: a turn, a report and a comparison as one self-contained HTML file each, and the model card in Markdown."""

from fullcircle.flows.pages.card import model_card
from fullcircle.flows.pages.comparison import render_comparison
from fullcircle.flows.pages.page import render
from fullcircle.flows.pages.report import decode_report, render_report

__all__ = ["decode_report", "model_card", "render", "render_comparison", "render_report"]
