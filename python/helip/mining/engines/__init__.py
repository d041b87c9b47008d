"""Who does the work of a mining job: threads of a process, parts of any scheduler, Ray."""
