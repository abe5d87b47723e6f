"""Fitting of laws: posterior, starts, optimisers, uncertainty."""
