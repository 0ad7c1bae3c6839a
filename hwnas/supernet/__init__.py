"""Elastic layers, supernets, subnet extraction and BatchNorm calibration."""
