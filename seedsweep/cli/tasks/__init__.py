"""What ``task=`` can name: a file each, with ``run(config, folder, *, label, resume)``.

``config`` is the whole configuration, ``folder`` the job's own, ``label`` the name of the arm in tables, and ``resume``
says whether the folder was begun before. The docstrings tell what a task reads of them.
"""
