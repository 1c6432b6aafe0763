"""Losses of FashionKLIP: captions against images, and concepts against what stands for them.

Notation of the paper's training (ACL 2023 Industry, section 3.3, and the released code): a batch of B pairs, K concept
slots per caption, M prototype images per concept of which the R most similar to the pair's own image are used.

    q[i,a,m] = prototype[i,a,m] . v_i           the R largest: g[i,a,r], vectors u[i,a,r]
    w[i,a,r] = g[i,a,r] / |g[.,a,r]|            over the batch
    alpha[a,r] = sum_i w[i,a,r] / sum_r' sum_i w[i,a,r']
    Z[a,r][i,j] = s u[i,a,r] . c[a,j]           c: the prompt's text feature
    L_a = sum_r alpha[a,r] (CE(Z[a,r]; w) + CE(Z[a,r]^T; w)) / 2,   L_con = mean over slots

u, w and alpha are constants, so this loss trains the text tower only. `concept_image_loss` is the other form: the
concepts of a batch against its live images, which trains both towers.

Every function takes this process's rows and computes the loss of the joined batch, so value and gradient (averaged by
DDP) are those of one process with the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from train.engine.gather import gather_rows, gather_rows_no_grad, process_rank
from train.engine.losses import query_target_loss
from train.engine.matching_loss import gather_ragged, symmetric_matching_loss


@dataclass(frozen=True)
class ConceptRules:
    """What the concept loss does at its edges. The default is sane, `OFFICIAL` is what the released code does.

    Attributes:
        matching_pairs: weights of (slot, rank) meet the logits of the same slot and rank. Deviation: the original reads
            its table transposed, so that weights of (a, r) meet the logits of slot r, rank a; that needs K = R.
        skip_empty_slots: a slot that is empty in the whole batch contributes 0. Deviation: the original divides 0 by 0.
        average_over: "slots" divides by K, "active" by the slots that somebody fills.
        mask_empty: an empty slot of one caption is nobody's wrong answer. Deviation: in the original its zero image
            and its prompt without a phrase are.
        mask_equal: a caption with the same concept is no wrong answer. Deviation: in the original it is.
        positive_weights: prototypes less similar than a right angle get no weight. Deviation: in the original the
            weight is negative, and the loss pushes the concept away from them.
    """

    matching_pairs: bool = True
    skip_empty_slots: bool = True
    average_over: str = "active"
    mask_empty: bool = True
    mask_equal: bool = True
    positive_weights: bool = True


OFFICIAL = ConceptRules(False, False, "slots", False, False, False)


@dataclass
class ConceptTerms:
    """The concept loss and its parts.

    Attributes:
        loss: () with gradient.
        slot_losses: (K,).
        alpha: (K, R) share of each rank.
        weights: (K, R, batch) weight of each pair.
        row_losses, column_losses: (K, R) weighted cross entropies, indexed as the weights that they met.
        active_slots: number of slots that somebody fills.
    """

    loss: torch.Tensor
    slot_losses: torch.Tensor
    alpha: torch.Tensor
    weights: torch.Tensor
    row_losses: torch.Tensor
    column_losses: torch.Tensor
    active_slots: int


def concept_prototype_loss(
    image_embeds: torch.Tensor,
    concept_embeds: torch.Tensor,
    concept_ids: torch.Tensor,
    prototypes: torch.Tensor,
    scale: torch.Tensor | float,
    *,
    ranks: int = 5,
    rules: ConceptRules | None = None,
    official_gather: bool = False,
) -> ConceptTerms:
    """Concept loss against prototype images.

    Args:
        image_embeds: (n, D) this process's images, length one. Only used to pick and weigh prototypes.
        concept_embeds: (K, n, D) prompts of the captions' concepts, length one.
        concept_ids: (n, K) number of each concept, equal for equal concepts; -1 where the slot has no prototypes.
        prototypes: (n, K, M, D) images that stand for each concept, length one; zeros where there are fewer.
        scale: s, inverse temperature.
        ranks: R, how many of the M prototypes are used.
        rules: see [`ConceptRules`].
        official_gather: as the original, the rows of other processes carry no gradient (see [`OwnBlockFirst`]).

    Returns:
        [`ConceptTerms`] of the joined batch.

    Raises:
        ValueError: shapes that don't fit; slots and ranks that differ under the original's transposed reading.
    """
    rules = rules or ConceptRules()
    slots, rows, dim = concept_embeds.shape
    if prototypes.shape[:2] != (rows, slots) or prototypes.shape[3] != dim or image_embeds.shape != (rows, dim):
        raise ValueError(
            f"images {tuple(image_embeds.shape)}, concepts {tuple(concept_embeds.shape)} and prototypes "
            f"{tuple(prototypes.shape)} don't fit: expected (n, D), (K, n, D) and (n, K, M, D)"
        )
    if concept_ids.shape != (rows, slots):
        raise ValueError(f"concept_ids has shape {tuple(concept_ids.shape)}, expected ({rows}, {slots})")
    ranks = min(ranks, prototypes.shape[2])
    if not rules.matching_pairs and slots != ranks:
        raise ValueError(
            f"the original's pairing needs as many slots as ranks, got {slots} and {ranks}; use the default pairing"
        )
    with torch.autocast(image_embeds.device.type, enabled=False):
        with torch.no_grad():
            similarity = torch.einsum("iamd,id->iam", prototypes.float(), image_embeds.float())
            similarity, order = similarity.topk(ranks, dim=2)  # (n, K, R)
            chosen = prototypes.float().gather(2, order[..., None].expand(-1, -1, -1, dim))  # (n, K, R, D)
            constant, live = (OwnBlockFirst.apply,) * 2 if official_gather else (gather_rows_no_grad, gather_rows)
            similarity = constant(similarity).permute(1, 2, 0)  # (K, R, N)
            chosen = constant(chosen.flatten(1)).view(-1, slots, ranks, dim)
            ids = constant(concept_ids).T  # (K, N)
            if rules.positive_weights:
                similarity = similarity.clamp(min=0)
            filled = (similarity != 0).any(dim=2)  # (K, R): a slot has a weight somewhere
            norm = similarity.norm(dim=2, keepdim=True)
            weights = similarity / (torch.where(norm > 0, norm, 1) if rules.skip_empty_slots else norm)
            share = weights.sum(dim=2)  # (K, R)
            total = share.sum(dim=1, keepdim=True)
            alpha = share / (torch.where(total != 0, total, 1) if rules.skip_empty_slots else total)
        texts = live(concept_embeds.float().transpose(0, 1)).transpose(0, 1)  # (K, N, D)
        logits = scale * torch.einsum("iard,ajd->arij", chosen, texts)  # (K, R, N, N)
        excluded = _excluded_columns(ids, rules)
        if excluded is not None:
            logits = logits.masked_fill(excluded[:, None], -1e4)
        if not rules.matching_pairs:
            logits = logits.transpose(0, 1)
        row_losses = _weighted_cross_entropy(logits, weights, rules)
        column_losses = _weighted_cross_entropy(logits.transpose(2, 3), weights, rules)
        slot_losses = (alpha * (row_losses + column_losses) / 2).sum(dim=1)
        active = int(filled.any(dim=1).sum())
        parts = max(active, 1) if rules.average_over == "active" else slots
        return ConceptTerms(slot_losses.sum() / parts, slot_losses, alpha, weights, row_losses, column_losses, active)


def _excluded_columns(ids: torch.Tensor, rules: ConceptRules) -> torch.Tensor | None:
    """(K, N, N) what is no wrong answer of a row, or of a column: the relation is symmetric."""
    if not (rules.mask_empty or rules.mask_equal):
        return None
    excluded = torch.zeros(len(ids), ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device)
    if rules.mask_equal:
        excluded |= (ids[:, :, None] == ids[:, None, :]) & (ids >= 0)[:, :, None]
    if rules.mask_empty:
        excluded |= (ids < 0)[:, :, None] | (ids < 0)[:, None, :]
    own = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    return excluded & ~own


def _weighted_cross_entropy(logits: torch.Tensor, weights: torch.Tensor, rules: ConceptRules) -> torch.Tensor:
    """(K, R, N, N) logits with the right answers on the diagonal, (K, R, N) weights -> (K, R)."""
    losses = -torch.diagonal(logits.log_softmax(dim=3), dim1=2, dim2=3)
    total = weights.sum(dim=2)
    return (weights * losses).sum(dim=2) / (torch.where(total != 0, total, 1) if rules.skip_empty_slots else total)


def concept_image_loss(
    image_embeds: torch.Tensor,
    prompt_embeds: torch.Tensor,
    prompt_ids: torch.Tensor,
    concept_ids: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Concepts of the batch against its live images, both ways; an image has every concept of its caption.

    Args:
        image_embeds: (n, D) length one.
        prompt_embeds: (p, D) prompts of this process, length one, one for each concept.
        prompt_ids: (p,) number of each prompt's concept.
        concept_ids: (n, K) numbers of the concepts of each image's caption, -1 for an empty slot.
        scale: inverse temperature. A concept has many right images, so it wants to be lower than the captions'.

    Returns:
        0-d loss of the joined batch; 0 where no caption has a concept.
    """
    images, owned = gather_rows(image_embeds), gather_rows_no_grad(concept_ids)
    prompts, ids = gather_ragged(prompt_embeds), gather_ragged(prompt_ids)
    # A concept that several processes hold counts once, as it would on one process.
    first = (ids[:, None] == ids).float().argmax(dim=1) == torch.arange(len(ids), device=ids.device)
    kept = (first & (ids >= 0)).nonzero().flatten()
    positive = (owned[None] == ids[kept][:, None, None]).any(dim=2)  # (concepts, images)
    return symmetric_matching_loss(prompts[kept], images, positive, torch.zeros_like(positive), scale)


def caption_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    scale: torch.Tensor,
    groups: torch.Tensor | None,
    *,
    official_gather: bool = False,
) -> torch.Tensor:
    """CLIP's symmetric contrastive loss with negatives from all processes.

    Args:
        image_embeds, text_embeds: (n, D), length one, row i of both is one pair.
        scale: exp(logit_scale), with gradient.
        groups: (n,) number of each pair's caption. Pairs with equal captions are right answers of one another.
            Deviation: the original counts them as wrong answers; None does so.
        official_gather: as the original, the rows of other processes carry no gradient (see [`OwnBlockFirst`]); knows no
            groups.

    Raises:
        ValueError: `official_gather` with groups.
    """
    if official_gather:
        if groups is not None:
            raise ValueError("official_gather counts equal captions as wrong answers: leave groups out")
        logits = scale * OwnBlockFirst.apply(text_embeds) @ OwnBlockFirst.apply(image_embeds).T
        labels = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    if groups is None:
        return query_target_loss(text_embeds, image_embeds, scale, symmetric=True)
    images, texts, groups = gather_rows(image_embeds), gather_rows(text_embeds), gather_rows_no_grad(groups)
    same = groups[:, None] == groups
    return symmetric_matching_loss(texts, images, same, torch.zeros_like(same), scale)


def combined_loss(
    caption: torch.Tensor, concept: torch.Tensor, weight: float | None, *, official_lambda: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both losses in one.

    Args:
        caption, concept: the two losses.
        weight: added as `caption + weight * concept`. None balances them as the original does:
            lambda = caption / (5 concept), a constant; (1 - lambda) caption + lambda concept.
        official_lambda: let lambda exceed 1, so that the captions are trained backwards. Deviation: by default it is
            cut at 1.

    Returns:
        (), and lambda or the weight.
    """
    if weight is not None:
        return caption + weight * concept, caption.new_tensor(weight)
    with torch.no_grad():
        share = torch.zeros_like(caption) if concept == 0 else caption / (5 * concept)
        if not official_lambda:
            share = share.clamp(0, 1)
    return (1 - share) * caption + share * concept, share


class OwnBlockFirst(torch.autograd.Function):
    """Rows of all processes as the original gathers them: this process's first, the others' without a gradient.

    Averaged by DDP over W processes, the towers get 1/W of the joined batch's gradient, and the logit scale all of it.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(x)
        parts = list(gather_rows_no_grad(x).split(len(x)))
        return torch.cat([parts.pop(process_rank()), *parts])

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        return grad[: ctx.rows]


def normalise(features: torch.Tensor) -> torch.Tensor:
    """Rows of length one, in float32."""
    return F.normalize(features.float(), dim=-1)
