"""What a run leaves in its folder, and how it is read: the record, tables, jobs of a grid, command lines."""
