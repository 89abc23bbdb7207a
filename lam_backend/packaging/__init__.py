"""Build the inference-only bundle: graphs, tokenizer, wrapper. The wrapper itself imports nothing from here."""
