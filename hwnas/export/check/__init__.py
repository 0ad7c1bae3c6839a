"""Whether a file computes what the torch network does: what is fed, what torch answers, and how far apart they are."""
