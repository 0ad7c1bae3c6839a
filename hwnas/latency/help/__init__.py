"""HELP: a latency predictor that is meta-learned over devices (Lee et al., NeurIPS 2021)."""
