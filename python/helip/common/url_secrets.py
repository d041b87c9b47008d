"""Users, passwords and queries of URLs, which may hold credentials, stay out of what is written."""

from __future__ import annotations

import re

#: Stands for what would be a secret.
REDACTED = "***"
# A pathlib.Path has one slash where a URL has two.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+:/+"
_USER = re.compile(rf"({_SCHEME})[^/\s?#]*@")
_QUERY = re.compile(rf"({_SCHEME}[^\s?#]*)[?#]\S+")
# In Markdown a bracket or the border of a cell ends a URL, and a fragment is a place of a page.
_QUERY_IN_MARKDOWN = re.compile(rf"({_SCHEME}[^\s?#)\]>|]*)\?[^\s)\]>|]+")


def without_secrets(text: str, *, markdown: bool = False) -> str:
    """The text with REDACTED for users, passwords and queries of its URLs."""
    query = _QUERY_IN_MARKDOWN if markdown else _QUERY
    return query.sub(rf"\1?{REDACTED}", _USER.sub(rf"\1{REDACTED}@", text))
