"""The tasks of an evaluation, one file each."""
