"""The commands, in modules by what they are about; `helip.cli.registry` lists them."""
