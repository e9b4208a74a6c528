"""One page on a run, a sweep or a study: report.html for people, report.md for machines."""
