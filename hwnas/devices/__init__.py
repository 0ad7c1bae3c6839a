"""Devices: their profiles, and the transports that reach them."""
