"""Figures as Vega-Lite, the same for the page, where they are interactive, and as files for papers."""
