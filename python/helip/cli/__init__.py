"""The ``helip`` command: thin, one file a group of subcommands."""
