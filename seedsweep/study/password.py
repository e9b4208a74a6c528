"""The password of ``storage.url``: kept in the environment of the process alone, never in a file or a message."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

from seedsweep.errors import SeedsweepError
from seedsweep.overrides import is_quoted, key_of, quoted, text_of

URL, VARIABLE = "storage.url", "SEEDSWEEP_STORAGE_PASSWORD"
HOW = f"set {VARIABLE}, or for PostgreSQL write it into ~/.pgpass"
# scheme, user, and the password up to the last @ before the path; user and password may hold an @ themselves
_PASSWORD = re.compile(r"(\w[\w+.-]*://[^:/?#\s]*):([^/?#]*)@")
_USER = re.compile(r"(\w[\w+.-]*://[^:/?#\s]+)@")
_AFTER = re.compile(r"\w[\w+.-]*://([^/?#]*)([^?]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(.*@)?(\[[^\]]*\]|[^:@]*)(:\d*)?")
_IN_QUERY = re.compile(r"[?&][^=&]*(?:password|passwd|pwd|pass|secret)[^=&]*=", re.I)
_SHORT = (
    6  # characters: a shorter secret may be a part of other words, and is replaced only where it stands alone
)


def without_password(override: str) -> str:
    """Takes the password out of ``storage.url=...`` into the environment, which workers inherit.

    Raises:
        SeedsweepError: there are several, one at another place of the url, or one that is not percent-encoded and
            whose end can't be told.
    """
    if key_of(override) != URL:
        return override
    key, _, value = override.partition("=")
    url = text_of(value) if is_quoted(value) else value
    passwords = {found[1].replace("\\,", ",") for found in _PASSWORD.findall(url)}
    if len(passwords) > 1:
        raise SeedsweepError(f"{URL} has several passwords: leave them out, and {HOW}.")
    bare = _PASSWORD.sub(r"\1@", url)
    check_url(bare)
    for password in map(unquote, passwords):
        if "\0" in password or "${" in password:
            raise SeedsweepError(f"the password in {URL} can't be read: leave it out, and {HOW}.")
        os.environ[VARIABLE] = password
    return f"{key}={quoted(bare) if is_quoted(value) else bare}"


def check_url(url: str) -> None:
    """Raises SeedsweepError where a url that will be written into files holds a password."""
    if _PASSWORD.search(url) or _IN_QUERY.search(url):
        raise SeedsweepError(
            f"{URL} holds a password, which would be written into the folder of each run: leave it out, and {HOW}."
        )
    for authority, path, query in _AFTER.findall(url):
        host = _HOST.fullmatch(authority)
        is_port = host is not None and not (host[3] and ("@" in path or not path))
        if not is_port and "@" in path + query:
            raise SeedsweepError(
                f"{URL} may hold a password with one of / ? #: write these percent-encoded (%2F %3F %23), or leave "
                f"the password out, and {HOW}."
            )


def with_password(url: str) -> str:
    """Returns the url with its password, or that of the environment if it names a user, percent-encoded."""
    if _PASSWORD.search(url):
        return _PASSWORD.sub(lambda found: f"{found[1]}:{_encoded(unquote(found[2]))}@", url, count=1)
    password = os.environ.get(VARIABLE)
    if not password:
        return url
    return _USER.sub(lambda found: f"{found[1]}:{_encoded(password)}@", url, count=1)


def scrubbed(text: str, url: str) -> str:
    """Returns ``text`` without the password of ``url`` and that of the environment, encoded or not."""
    passwords = {unquote(password) for _, password in _PASSWORD.findall(url)} | {os.environ.get(VARIABLE, "")}
    secrets = {form for password in passwords for form in (password, quote(password), _encoded(password))}
    secrets |= {password for _, password in _PASSWORD.findall(url)}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        pattern = re.escape(secret)
        text = re.sub(rf"(?<!\w){pattern}(?!\w)" if len(secret) < _SHORT else pattern, "***", text)
    return text


def _encoded(password: str) -> str:
    return quote(password, safe="")
