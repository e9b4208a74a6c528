"""One file a check: ``CHECK`` and ``check(subject, folder)``; found by :mod:`seedsweep.diagnosis.run_checks`."""
