"""What a net is handed over as: one file each.

A file of this folder is a format if it defines ``NAME`` (str), ``SUFFIX`` (of its files), ``check()``, which raises
SeedsweepError where a package is missing, ``write(net, example, about, path)``, and ``reader(path)``, which returns
what turns uint8 or float32 pixels [B, 3, H, W] into probabilities [B, N] with the written file alone.
"""
