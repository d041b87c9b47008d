"""Intervals, paired differences, and the guard against forgetting."""
