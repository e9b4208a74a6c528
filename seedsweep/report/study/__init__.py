"""Pictures and tables of an Optuna study."""
