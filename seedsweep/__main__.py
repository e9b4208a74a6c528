"""``python -m seedsweep``."""

from seedsweep.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
