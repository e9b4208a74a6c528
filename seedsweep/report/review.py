"""review.html: a page on which a person looks through doubtful labels, and saves corrections.csv."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from seedsweep.data.corrections import Correction
from seedsweep.data.images import Reading
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.data.threads import in_threads
from seedsweep.diagnosis.in_doubt import InDoubt
from seedsweep.names import printable
from seedsweep.report.embedded_images import SIDE, jpeg_uri, photograph
from seedsweep.report.write_report import page_environment
from seedsweep.whole import replacing

PAGE = "review.html"
MOST = 500  # images on a page: some 5 MB
SMALL = 96  # pixels of the longer side of an image to compare with
EXAMPLES = 4  # of a class, to compare with


def write_review(
    prepared: PreparedImages,
    doubts: Sequence[InDoubt],
    folder: Path,
    *,
    earlier: Sequence[Correction] = (),
    lists: str = "",
) -> Path | None:
    """Writes review.html: the images in doubt, the most doubtful first, at most ``MOST``.

    Args:
        doubts: in any order, of these and of other images below the same folder; of several about one image the
            reasons are joined.
        earlier: corrections that hold already: they are saved again with the new ones, and what they decided is not
            asked again.
        lists: names of the files in ``folder`` that list all doubts.

    Returns:
        The page; None where nothing is in doubt, and no page is left.
    """
    path, table = folder / PAGE, prepared.table
    decided = {each.path for each in earlier}
    found = [each for each in _joined(doubts) if table.name_of(each.path) not in decided]
    content = _content(prepared, found[:MOST], {each.path for each in found}, earlier)
    if not content["images"]:
        path.unlink(missing_ok=True)
        return None
    environment = page_environment()
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "review.js")[0]
    page = environment.get_template(PAGE).render(
        about=_about(len(content["images"]), len(found), lists, len(decided)),
        root=printable(str(table.root)),
        shown=len(content["images"]),
        # no name in it can end the element
        data=Markup(json.dumps(content, allow_nan=False).replace("<", "\\u003c")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _joined(doubts: Sequence[InDoubt]) -> list[InDoubt]:
    """Returns one doubt an image, the most doubtful first."""
    of_path: dict[Path, InDoubt] = {}
    for each in sorted(doubts, key=lambda doubt: -doubt.score):
        first = of_path.setdefault(each.path, each)
        if first is not each:
            reason = first.reason if each.reason in first.reason else f"{first.reason} {each.reason}"
            likely, twin = first.likely or each.likely, first.twin or each.twin
            of_path[each.path] = replace(first, reason=reason, likely=likely, twin=twin)
    return list(of_path.values())


def _content(
    prepared: PreparedImages, shown: list[InDoubt], doubted: set[Path], earlier: Sequence[Correction]
) -> dict[str, Any]:
    """Returns what the page's script reads; images that can't be read any more are left out."""
    table = prepared.table
    examples = {name: _examples(table, number, doubted) for number, name in enumerate(table.classes)}
    sides = dict.fromkeys((path for paths in examples.values() for path in paths), SMALL)
    uris = _uris(sides | dict.fromkeys((each.path for each in shown), SIDE), prepared.pixels.how)
    images = [
        {
            "path": printable(table.name_of(each.path)),
            "label": each.label,
            "split": each.split,
            "digest": each.digest,
            "likely": each.likely,
            "twin": None if each.twin is None else printable(table.name_of(each.twin)),
            "reason": each.reason,
            "uri": uris[each.path],
        }
        for each in shown
        if uris[each.path]
    ]
    identity = "\0".join([str(table.root), *table.classes]).encode("utf-8", "surrogateescape")
    return {
        "id": hashlib.sha256(identity).hexdigest(),
        "classes": table.classes,
        "images": images,
        "examples": {name: [uris[path] for path in paths if uris[path]] for name, paths in examples.items()},
        "earlier": [[printable(each.path), each.label, each.action, each.digest] for each in earlier],
    }


def _examples(table: ImageTable, number: int, doubted: set[Path]) -> list[Path]:
    """Returns some images of a class, evenly spread, none of them in doubt."""
    paths = [table.paths[row] for row in np.flatnonzero(table.labels == number)]
    paths = [path for path in paths if path not in doubted]
    return paths[:: max(1, len(paths) // EXAMPLES)][:EXAMPLES]


def _uris(sides: dict[Path, int], how: Reading) -> dict[Path, str]:
    """Returns images as data URIs, as long as ``sides`` says; empty for one that can't be read."""
    found: dict[Path, str] = {}

    def one(place: int) -> None:
        image = photograph(paths[place], sides[paths[place]], how)
        found[paths[place]] = "" if image is None else jpeg_uri(image)

    paths = list(sides)
    in_threads(one, range(len(paths)), -1, "drawing review.html")
    return found


def _about(shown: int, found: int, lists: str, decided: int) -> str:
    """Returns what the page shows, and what it does not."""
    images = "image whose label is" if shown == 1 else "images whose labels are"
    text = f"{shown} {images} in doubt, the most doubtful first."
    if found > shown:
        text += f" {found - shown} more are not shown{f': they are listed in {lists}' if lists else ''}."
    if decided:
        text += f" {decided} that were decided before are not asked again; they are saved with the new ones."
    return text
