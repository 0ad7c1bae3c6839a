"""What a step minimises. B images, K classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["distilled_loss"]


def distilled_loss(
    logits: Tensor, labels: Tensor, soft_labels: Tensor | None, label_smoothing: float, weight: float
) -> Tensor:
    """Cross-entropy of logits `[B, K]`, plus `weight` × the cross-entropy against the teacher's probabilities."""
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if soft_labels is None:
        return loss
    return loss + weight * F.cross_entropy(logits, soft_labels)
