"""Plots and the HTML report, from result files alone."""
