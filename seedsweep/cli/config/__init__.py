"""The schema of all settings, and how a command line becomes one: read, composed, typed and compared."""
