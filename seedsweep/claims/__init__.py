"""What may be claimed from a number of images and seeds: intervals, comparisons, calibration. Arrays in, no files."""
