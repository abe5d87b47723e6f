"""Held-out evaluation: cross-validation, rolling origins, metrics, intervals, model selection."""
