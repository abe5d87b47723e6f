"""The page of a study of mixtures."""
