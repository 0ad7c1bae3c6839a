"""Predictors of new devices behind one interface, the data that teach them, and how they are scored."""
