"""Filtering a table of hard pairs: by which rules, and what was found."""
