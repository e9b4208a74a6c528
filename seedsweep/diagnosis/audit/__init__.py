"""What can be wrong with images and labels before any net is trained: pure functions on arrays and paths."""
