"""seedsweep: which transfer-learning set-up works on my images, and why do the others fail?"""

__version__ = "0.1.0"
