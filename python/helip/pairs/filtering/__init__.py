"""Filtering a table of hard pairs: what is judged, by which rules, and what was found."""
