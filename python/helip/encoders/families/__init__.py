"""Families of encoders, one file each."""
