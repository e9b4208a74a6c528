"""What an epoch is made of, whoever trains: the optimiser, and what its batches add up to."""
