"""Corpora that arrive as packages."""
