"""Files of the user's own: run, told of where they fail, and known by what they import."""
