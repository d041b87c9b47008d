"""Who embeds a data set: one process, parts of any scheduler, the processes of torchrun, Ray."""
