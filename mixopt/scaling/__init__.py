"""Joint laws of mixture, parameters and tokens."""
