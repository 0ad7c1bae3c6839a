"""What a run writes, also in a tracker: MLflow or Weights & Biases."""
