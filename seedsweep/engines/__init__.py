"""Ways to run a frozen net over images: one file each, with ``build`` (see ``base``)."""
