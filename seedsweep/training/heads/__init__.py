"""Training of dense heads on stored features."""
