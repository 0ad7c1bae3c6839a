"""The searchers, one file each, and what they share of ways to make children."""
