"""Measures model files on devices, and builds latency tables from the measurements."""
