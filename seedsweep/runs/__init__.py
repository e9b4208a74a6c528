"""What a run leaves of itself: one record, written at its end and read by everything that speaks of it."""
