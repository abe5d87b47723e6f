"""Studies of mixtures, and the same for a table of runs."""
