"""What may be claimed from a number of images and seeds: intervals, comparisons, calibration. Arrays in, no files.

Example:
    >>> import numpy as np, seedsweep as ss
    >>> ours, theirs = np.repeat([1, 0], [90, 10]), np.repeat([1, 0], [60, 40])
    >>> print(ss.stats.table({"ours": ours, "theirs": theirs}))
            accuracy  95 %         behind  p
    ours    0.900     0.840-0.960
    theirs  0.600     0.500-0.700  0.300   1.9e-09 worse
"""

from seedsweep.stats.interval import Interval
from seedsweep.stats.pairs import Comparison, compare
from seedsweep.stats.ranking import Ranking, Standing, accuracy, table

__all__ = ["Comparison", "Interval", "Ranking", "Standing", "accuracy", "compare", "table"]
