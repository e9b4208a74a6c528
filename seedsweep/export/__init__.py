"""Using a trained net: it classifies a folder of photographs (``predict``), or is written for others (``export``)."""
