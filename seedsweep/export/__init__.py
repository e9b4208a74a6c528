"""Using a trained net: a folder of photographs answered (``predict``), the net handed over (``export``)."""
