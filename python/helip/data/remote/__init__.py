"""Tar shards at URLs: opened, indexed, and read by ranges."""
