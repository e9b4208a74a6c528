"""Image files: can all be read, and are they large enough?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.data.folder import scan_folder
from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import read_image
from seedsweep.data.walk import LeftOut, sentences
from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.names import printable

CHECK = Check(
    "data_files",
    "Image files",
    18,
    "Files that can't be decoded whole or are not used, and photographs smaller than what the net reads.",
)
MANY = 0.02  # of all files
STRETCH = 4  # an image whose sides are enlarged by more shows little
LARGEST = (1024, 1024)  # pixels; a much larger photograph is decoded reduced, and whole all the same


def check(subject: Subject, folder: Path) -> Finding:
    """Looks for files that are not used, and at the sizes of the others."""
    facts = subject.audited
    bad, others = left_out(facts.table.root, set(facts.table.paths))
    sizes = np.asarray([(file.height, file.width) for file in facts.files])
    wanted = np.asarray(subject.config.data.image_size)
    small = int(((wanted / sizes).min(1) > STRETCH).sum())
    total = len(sizes) + len(bad)
    named = [f"{printable(path.name)}: {reason}" for path, reason in bad.items()]
    median_height, median_width = (float(side) for side in np.median(sizes, 0))
    evidence: Evidence = {
        "files": total,
        "unreadable": len(bad),
        "examples": named[:EXAMPLES],
        "left_out": sentences(others),
        "median_height": median_height,
        "median_width": median_width,
        "much_enlarged": small,
    }
    verdict = Verdict.FINE
    said = f"All {total} files can be read; the median is {int(median_width)} x {int(median_height)} pixels."
    if bad:
        verdict = Verdict.FAULT if len(bad) > MANY * total else Verdict.SUSPECT
        path, reason = next(iter(bad.items()))
        said = (
            f"{len(bad)} of {total} files can't be read and were left out, such as {printable(path.name)} ({reason}): "
            "copy them anew, or remove them."
        )
    if small > MANY * total:
        verdict = Verdict.SUSPECT if verdict is Verdict.FINE else verdict
        said += (
            f" {small} are enlarged by more than {STRETCH} to {wanted[1]} x {wanted[0]}: a smaller "
            "data.image_size shows the net as much."
        )
    if unexpected := [each for each in others if not each.expected]:
        verdict = Verdict.SUSPECT if verdict is Verdict.FINE else verdict
        said += f" Not used: {'; '.join(sentences(unexpected))}."
    return CHECK.found(verdict, said, evidence)


def left_out(root: Path, known: set[Path]) -> tuple[dict[Path, str], list[LeftOut]]:
    """Returns what lies below the data's folder and is not used.

    Returns:
        The image files that are not among ``known`` and can't be read, and why; all that is passed over.
    """
    try:
        scan = scan_folder(root)
    except (SeedsweepError, OSError):  # a manifest may name files of a folder that is no data set by itself
        return {}, []
    bad: dict[Path, str] = {}
    unused = []
    for found in scan.found:
        if found.path in known:
            continue
        try:
            read_image(found.path, LARGEST)
        except BadImageError as error:
            bad[found.path] = str(error)
        else:
            why = "readable, but not among those of the run"
            unused.append(LeftOut(found.path, found.label, "image(s)", why))
    return bad, scan.left_out + unused
