"""The page of a turn: one self-contained HTML file that tells what happened."""

from fullcircle.flows.pages.page import render

__all__ = ["render"]
