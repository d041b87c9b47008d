"""Formats of data sets, one file each."""
