"""Operator chains as model files with random weights, one writer a runtime: what latency tables are measured with."""
