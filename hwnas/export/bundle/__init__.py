"""Bundles: a model file with its manifest, preprocessing, golden pair and example, and how one is verified."""
