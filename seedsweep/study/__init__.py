"""Optuna studies: the space, where trials are kept, who works on them, and what comes of it."""
