"""Figures, drawn from frames and stored arrays alone."""
