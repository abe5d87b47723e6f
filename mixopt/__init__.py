"""mixopt: decide what text a language model is trained on, how much of it, and how often."""

__version__ = "0.1.0"
