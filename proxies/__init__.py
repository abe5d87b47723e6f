"""Text and tiny models: corpora, token shards, mixture sampling, the stacked GPT, training, launching."""
