"""What each change was worth: the ladder of a grid whose jobs are rungs (``conf/rung``)."""
