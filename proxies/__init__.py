"""Proxy training: corpora, token shards, mixture sampling, the stacked GPT, parallel workers."""
