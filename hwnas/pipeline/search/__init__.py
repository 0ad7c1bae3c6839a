"""The search step: where its quantities come from, and the search of one target."""
