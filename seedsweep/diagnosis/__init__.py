"""Why does it fail? Each check is a file of ``checks/``; ``verdict.py`` ranks what they found."""
