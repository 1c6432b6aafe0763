"""FashionViL's losses as functions of features and logits, so that several processes' can be joined before.

Han et al., "FashionViL: Fashion-Focused Vision-and-Language Representation Learning", ECCV 2022, section 3.2; the
released code. Everything is computed in float32: half precision can't tell logits near s * s apart.
"""

import torch
from torch.nn import functional as F


def contrastive_loss(
    queries: torch.Tensor,
    targets: torch.Tensor,
    all_queries: torch.Tensor | None = None,
    all_targets: torch.Tensor | None = None,
    offset: int = 0,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Mean of the two cross entropies between queries and targets: every query finds its target, and the reverse.

    Args:
        queries, targets: (B, D) features of one process, row i of one belongs to row i of the other; their length is
            part of the logits.
        all_queries, all_targets: (W * B, D) those of all processes; None: those of this one. The mean over processes of
            the losses, and of their gradients, is then that of the whole batch, if gathering passes gradients on.
        offset: place of this process's first row among all.
        temperature: divides the logits.

    Returns:
        () the loss; 0 where the numbers of queries and targets differ (several images per text), as in the original.
    """
    if len(queries) != len(targets):
        return queries.new_zeros((), dtype=torch.float32)
    forward = query_loss(queries, targets, all_targets, offset, temperature)
    return (forward + query_loss(targets, queries, all_queries, offset, temperature)) / 2


def query_loss(
    queries: torch.Tensor,
    targets: torch.Tensor,
    all_targets: torch.Tensor | None = None,
    offset: int = 0,
    temperature: float = 1.0,
) -> torch.Tensor:
    """() cross entropy in one direction, query to target; arguments as in [`contrastive_loss`]."""
    candidates = targets if all_targets is None else all_targets
    labels = torch.arange(len(queries), device=queries.device) + offset
    return F.cross_entropy(dot_products(queries, candidates) / temperature, labels)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy with several right classes per row.

    Args:
        logits: (B, A).
        targets: (B, A) weights, at least 0; a row without any doesn't count.

    Returns:
        () mean over the rows that count, 0 without any.
    """
    targets = targets.float()
    sums = targets.sum(-1, keepdim=True)
    # Rows of zeros stay zero.
    targets = targets / (sums + torch.finfo(torch.float32).eps)
    losses = -(targets * F.log_softmax(logits.float(), dim=-1)).sum(-1)
    return losses.sum() / (sums > 0).sum().clamp(min=1)


def supervised_contrastive_loss(
    features: torch.Tensor, labels: torch.Tensor, official_smoothing: bool = False
) -> torch.Tensor:
    """Contrastive loss in which every row with the same label is right (Khosla et al., arXiv 2004.11362, "out").

    The original has it for a task that none of its configurations can run.

    Args:
        features: (B, D), their length is part of the logits.
        labels: (B,).
        official_smoothing: True adds 1e-5 to every exponential, taken after the row's largest logit (that of the row with
            itself) is subtracted, as the original does. Deviation: by default nothing is added, since that flattens the
            loss where features are long.

    Returns:
        () mean over rows of the mean over each row's right answers, itself excluded. A row without another of its label
        counts with 0.
    """
    logits = dot_products(features, features)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    if official_smoothing:
        logits = ((logits - logits.amax(dim=-1, keepdim=True)).exp() + 1e-5).log()
    log_probabilities = F.log_softmax(logits.masked_fill(itself, float("-inf")), dim=-1).masked_fill(itself, 0)
    right = (labels[:, None] == labels[None, :]) & ~itself
    return -((log_probabilities * right).sum(-1) / right.sum(-1).clamp(min=1)).mean()


def triplet_loss(
    anchors: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, margin: float = 0.3
) -> torch.Tensor:
    """() mean hinge: an anchor's positive must be nearer than its negative by a margin (Euclidean); all (B, D)."""
    return F.triplet_margin_loss(anchors.float(), positives.float(), negatives.float(), margin=margin)


def dot_products(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(A, D) and (B, D) -> (A, B) float32, under autocast too."""
    with torch.autocast(first.device.type, enabled=False):
        return first.float() @ second.float().T
