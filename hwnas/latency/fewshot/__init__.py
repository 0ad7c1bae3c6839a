"""The few-shot predictor: a posterior over a device's latency function from a few measurements of it."""
