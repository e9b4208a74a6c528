"""The digest by which a file's content is known."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: it can't be read, or is no regular file: a pipe or a device may have no end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
