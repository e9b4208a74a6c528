"""Image files: can all be read, and are they large enough?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.data.folder import scan_folder
from seedsweep.data.walk import LeftOut, sentences
from seedsweep.diagnosis.audit.files import read_facts, why_unreadable
from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.names import printable

ORDER = 80
TITLE = "Image files"
MEASURED = (
    "Files that can't be decoded whole or are not used, and photographs smaller than what the net reads."
)
MANY = 0.02  # of all files
STRETCH = 4  # an image whose sides are enlarged by more shows little


def check(subject: Subject, folder: Path) -> Finding:
    """Looks for files that are not used, and at the sizes of the others."""
    facts = subject.audited
    bad, others = left_out(facts.table.root, set(facts.table.paths))
    sizes = np.asarray([(f.height, f.width) for f in read_facts(facts.table.paths)])
    wanted = np.asarray(subject.config.data.image_size)
    small = int(((wanted / sizes).min(1) > STRETCH).sum())
    total = len(facts.table.paths) + len(bad)
    evidence: Evidence = {
        "files": total,
        "unreadable": len(bad),
        "examples": [f"{printable(path.name)}: {reason}" for path, reason in list(bad.items())[:EXAMPLES]],
        "left_out": sentences(others),
        "median_height": float(np.median(sizes[:, 0])),
        "median_width": float(np.median(sizes[:, 1])),
        "much_enlarged": small,
    }
    height, width = (int(side) for side in np.median(sizes, 0))
    said = f"All {total} files can be read; the median is {width} x {height} pixels."
    verdict = Verdict.FINE
    if bad:
        verdict = Verdict.FAULT if len(bad) > MANY * total else Verdict.SUSPECT
        first = next(iter(bad.items()))
        said = (
            f"{len(bad)} of {total} files can't be read and were left out, such as {printable(first[0].name)} "
            f"({first[1]}): copy them anew, or remove them."
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
    return Finding("data_files", TITLE, verdict, MEASURED, said, evidence)


def left_out(root: Path, known: set[Path]) -> tuple[dict[Path, str], list[LeftOut]]:
    """Returns what lies below the data's folder and is not used.

    Returns:
        The image files that are not among ``known`` and can't be read, and why; all that is passed over.
    """
    try:
        scan = scan_folder(root)
    except (SeedsweepError, OSError):  # a manifest may name files of a folder that is no data set by itself
        return {}, []
    others = [found for found in scan.found if found.path not in known]
    bad = why_unreadable([found.path for found in others])
    unused = [
        LeftOut(found.path, found.label, "image(s)", "readable, but not among those of the run")
        for found in others
        if found.path not in bad
    ]
    return bad, scan.left_out + unused
