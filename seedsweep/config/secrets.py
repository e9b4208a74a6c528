"""The password of ``storage.url``: kept in the environment of the process alone, never in a file or a message."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from seedsweep.config.groups import key_of
from seedsweep.errors import SeedsweepError

URL, VARIABLE = "storage.url", "SEEDSWEEP_STORAGE_PASSWORD"
HOW = f"set {VARIABLE}, or for PostgreSQL write it into ~/.pgpass"
_PASSWORD = re.compile(r"(\w[\w+.-]*://[^:/@\s]*):([^@]*)@")
_IN_QUERY = re.compile(r"[?&][^=&]*(?:password|passwd|pwd|pass|secret)[^=&]*=", re.I)


def without_password(override: str) -> str:
    """Takes the password out of ``storage.url=...`` into the environment, which workers inherit.

    Raises:
        SeedsweepError: there are several, or one at another place of the url.
    """
    if key_of(override) != URL:
        return override
    passwords = {found[1] for found in _PASSWORD.findall(override)}
    if len(passwords) > 1:
        raise SeedsweepError(f"{URL} has several passwords: leave them out, and {HOW}.")
    for password in passwords:
        os.environ[VARIABLE] = password
    bare = _PASSWORD.sub(r"\1@", override)
    check_url(bare)
    return bare


def check_url(url: str) -> None:
    """Raises SeedsweepError where a url that will be written into files holds a password."""
    if _PASSWORD.search(url) or _IN_QUERY.search(url):
        raise SeedsweepError(
            f"{URL} holds a password, which would be written into the folder of each run: leave it out, and {HOW}."
        )


def with_password(url: str) -> str:
    """Returns the url with the password of the environment, unless it has its own or names no user."""
    password = os.environ.get(VARIABLE)
    if not password or _PASSWORD.search(url):
        return url
    return re.sub(r"^(\w[\w+.-]*://[^:/@\s]+)@", lambda found: f"{found[1]}:{password}@", url, count=1)


def scrubbed(text: str, url: str) -> str:
    """Returns ``text`` without the password of ``url``."""
    for _, password in _PASSWORD.findall(url):
        for secret in {password, unquote(password)} - {""}:
            text = text.replace(secret, "***")
    return text
