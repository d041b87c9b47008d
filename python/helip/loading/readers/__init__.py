"""Who reads a planned batch: threads of the core, or worker processes."""
