"""Frames, and how their cells are shown on a console, in Markdown, LaTeX, HTML and CSV."""
