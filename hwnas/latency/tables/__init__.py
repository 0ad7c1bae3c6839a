"""Latency tables: measured operators, their files, their lookup, and tables that others published."""
