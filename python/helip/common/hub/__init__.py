"""Repositories of a hub such as huggingface.co: what goes there, what comes from there, cards."""
