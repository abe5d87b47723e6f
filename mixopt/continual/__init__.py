"""Continued pretraining: how much general text to keep, from a table of runs or from a study that trains them."""
