"""Tar shards written anew with hard pairs beside their targets."""
