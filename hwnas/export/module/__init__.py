"""Torch modules of the user's own: loaded as their code would run, known by its files, and copied."""
