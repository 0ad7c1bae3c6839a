"""Accuracy of subnets: measured, and predicted from what was measured."""
