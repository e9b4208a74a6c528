"""One picture a file: ``draw(trials) -> Figure``, saved under the file's own name."""
