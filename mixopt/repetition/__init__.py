"""Studies of repetition: the best number of epochs over limited text, from a ladder of proxy runs."""
