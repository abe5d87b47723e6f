"""The best mixture of a fitted predictor."""
