"""Features of a frozen backbone: extracted once, kept on disk, drawn by row."""
