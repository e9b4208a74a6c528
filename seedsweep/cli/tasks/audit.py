"""``task=audit``: copies, contradictions and torn photographs of a folder of images, before any net."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.cli.config.schema import Config

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Audits the images of the command line, and writes report.html with the lists beside it, and review.html.

    Raises:
        SeedsweepError: anything wrong with the images, in one sentence.
    """
    from seedsweep.data.prepare import prepare_images
    from seedsweep.diagnosis.audit_run import audit_images, facts_of, tell
    from seedsweep.diagnosis.in_doubt import contradicting
    from seedsweep.report.pages import write_audit_page  # torch takes seconds
    from seedsweep.report.review import write_review

    prepared = prepare_images(config.data, config.cache_dir)
    facts = facts_of(prepared, config.data, config.cache_dir)
    found = audit_images(facts, config.data, folder)
    tell(found)
    review = write_review(
        prepared,
        contradicting(facts, prepared.left_out),
        folder,
        earlier=prepared.corrected.corrections if prepared.corrected else (),
        lists="contradictions.csv",
    )
    if review:
        log.info("labels in doubt, to look through in a browser -> %s", review)
    page = write_audit_page(folder, str(prepared.table.root))
    log.info("report     %s  (%.1f s for %d images)", page, found.seconds, found.images)
