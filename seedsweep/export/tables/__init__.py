"""What predictions are written as: one file each.

A file of this folder is a kind of table if it defines ``SUFFIX``, ``check()``, which raises SeedsweepError where a
package is missing, and ``open_table(path, classes)``, a context manager that yields ``add(paths, probabilities)``.
The table is under ``path`` when it ends without an error, whole.
"""
