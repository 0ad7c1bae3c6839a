"""Estimates in milliseconds: tables of measured operators, and their lookup over genotype arrays."""
