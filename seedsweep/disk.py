"""Full and read-only disks: one sentence with the path, wherever the error came from."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
UNWRITABLE = {*NO_ROOM, errno.EROFS, errno.EFBIG}
NO_PATH = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP}
REFUSED = {errno.EACCES, errno.EPERM, errno.EIO, *NO_PATH}  # in writing or in reading
# errors of writing that carry no number: torch's zip writer, numpy's tofile, and tempfile where nothing is writable
WITHOUT_NUMBER = (
    r"inline_container.*unexpected pos|PytorchStreamWriter|iostream error|\d+ requested and \d+ written|"
    r"No usable temporary directory"
)
SHARED = r"insufficient shared memory|Bus error|</torch_"  # torch's words for a full /dev/shm
PROBE = 2**16  # bytes written to see whether a folder takes any

Places = Mapping[str, Path]  # how another one is given, and the folder in use


def places_of(outputs: Path, cache: Path) -> Places:
    """Returns the folders that a process writes into.

    Args:
        outputs: of the run, the grid or the study.
        cache: ``paths.cache``.
    """
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")
    return {"paths.outputs": outputs, "paths.cache": cache, "the environment's TMPDIR": temporary}


def sentence(error: BaseException, places: Places) -> str | None:
    """Says which disk an error comes from, and what to do; None: from none.

    An error that names no file is looked into: a little is written into each place, and if all of them take it, the
    one with the least room is named as that, and not as the cause.

    Args:
        error: with its causes.
        places: see :func:`places_of`.
    """
    for link in _chain(error):
        text = str(link)
        if re.search(SHARED, text):
            return "/dev/shm has too little room for the workers that read images: take data.workers=0."
        number = link.errno if isinstance(link, OSError) else None
        named = getattr(link, "filename", None)
        if number in UNWRITABLE and named:
            return _unwritable(Path(os.fsdecode(named)), number, places)
        if number in REFUSED and named:
            advice = "give another path" if number in NO_PATH else "see who may read and write it"
            return f"{os.fsdecode(named)} can't be used ({os.strerror(number)}): {advice}."
        if number == errno.ENOENT and named and (key := _unmade(Path(os.fsdecode(named)), places)):
            return f"{os.fsdecode(named)} can't be made ({os.strerror(number)}): give another {key}."
        if number in UNWRITABLE or re.search(WITHOUT_NUMBER, text):
            return _looked_for(number, places)
    return None


def _unwritable(path: Path, number: int, places: Places) -> str:
    way = next((f", or give another {key}" for key, place in places.items() if _on_one_way(path, place)), "")
    if number == errno.EFBIG:
        advice = "a file may not become so large here (ulimit -f)"
    elif number in NO_ROOM:
        advice = f"make room there{way}"
    else:
        advice = f"make it writable{way}"
    return f"{path} can't be written ({os.strerror(number)}): {advice}."


def _looked_for(number: int | None, places: Places) -> str:
    for place in places.values():
        try:
            _probe(place)
        except OSError as refused:
            return _unwritable(place, refused.errno or errno.EIO, places)
    free = {key: shutil.disk_usage(_existing(place)).free for key, place in places.items()}
    least = min(free, key=lambda key: free[key])
    reason = os.strerror(number) if number else "a file could not be written"
    return (
        f"{reason}: the least room, {free[least] / 2**20:.1f} MiB, is in {places[least]}; make room there, or give "
        f"another {least}."
    )


def _probe(place: Path) -> None:
    with tempfile.TemporaryFile(dir=_existing(place)) as file:
        file.write(b"\0" * PROBE)
        file.flush()


def _existing(place: Path) -> Path:
    return next(path for path in (place.absolute(), *place.absolute().parents) if path.is_dir())


def _on_one_way(path: Path, place: Path) -> bool:
    """Says whether one of them lies below the other."""
    one, other = path.absolute(), place.absolute()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _unmade(path: Path, places: Places) -> str | None:
    """Returns how the place is given that can't be made, for ``path`` is it or stands above it; None: there is none.

    So ``/proc`` takes no folders, nor does a name that leads to nothing.
    """
    missing = (key for key, place in places.items() if not place.is_dir())
    return next((key for key in missing if places[key].absolute().is_relative_to(path.absolute())), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
