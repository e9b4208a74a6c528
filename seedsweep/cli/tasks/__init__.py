"""What ``task=`` can do: one file each, with ``run(config, folder, label, resume)``."""
