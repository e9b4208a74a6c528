"""One file a check: ``check(subject, folder)`` and an ``ORDER``; found by :mod:`seedsweep.diagnosis.run_checks`."""
