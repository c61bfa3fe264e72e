"""Figures, pages and tables of what was found."""
