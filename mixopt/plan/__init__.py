"""Plans without training: how often to repeat text, how large a model for how many tokens."""
