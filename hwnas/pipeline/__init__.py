"""The steps as functions: where latency, accuracy and search are joined. No Hydra, nothing printed."""
