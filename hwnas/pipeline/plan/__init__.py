"""How long a run takes, beforehand and on the way."""
