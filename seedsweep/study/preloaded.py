"""What a study's processes import before they do anything, at once and without Python's garbage collector.

The collector would look through a million new objects again and again, a tenth of the time. None of this may start a
thread or ask a GPU anything: the server's forks could use neither (see ``study/process.py``).
"""

from __future__ import annotations

import gc

collects = gc.isenabled()
gc.disable()
try:
    import seedsweep.cli.job
    import seedsweep.cli.preflight
    import seedsweep.study.lead
    import seedsweep.training.run  # noqa: F401
finally:
    if collects:
        gc.enable()
