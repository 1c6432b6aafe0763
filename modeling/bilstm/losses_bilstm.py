"""The losses of the outfit models, of tensors padded to (outfits, N, ...), so that several processes' can be joined.

Han et al., "Learning Fashion Compatibility with Bidirectional LSTMs", ACM MM 2017, sections 3.1 and 3.2; the released code.
"""

import torch
from torch.nn import functional as F


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows of length one as TensorFlow makes them, (..., D) -> (..., D): a row of zeros stays one."""
    return x * x.square().sum(-1, keepdim=True).clamp(min=1e-12).rsqrt()


def vse_loss(images: torch.Tensor, texts: torch.Tensor, kept: torch.Tensor, margin: float) -> torch.Tensor:
    """Hinge loss between pictures and texts, both ways.

    Args:
        images, texts: (..., E) raw embeddings of the same items.
        kept: (...) bool, which items count: those whose text has two words or more.
        margin: m.

    Returns:
        () the sum over all wrong pairs, divided by the number of pairs, the right ones included. 0 without pairs.
    """
    images, texts = unit(images[kept]), unit(texts[kept])
    count = len(images)
    if not count:
        return (images.sum() + texts.sum()) * 0
    scores = texts @ images.T  # row: text, column: picture
    right = scores.diagonal()
    wrong = ~torch.eye(count, dtype=torch.bool, device=scores.device)
    by_text = F.relu(margin - right[:, None] + scores)
    by_image = F.relu(margin - right[None, :] + scores)
    return ((by_text + by_image) * wrong).sum() / count**2


def sequence_loss(
    predictions: torch.Tensor,
    items: torch.Tensor,
    mask: torch.Tensor,
    official_end_columns: bool,
    identities: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy of the next item among all next items of the batch, the end being the zero vector.

    Args:
        predictions: (outfits, N, E) after reading item t, in reading order.
        items: (outfits, N, E) what was read, in the same order.
        mask: (outfits, N) bool, True for items; True before False in every row.
        official_end_columns: one end column for every outfit instead of one.
        identities: (outfits, N) numbers, equal for one product in several outfits, which then is no wrong answer of
            itself. None: every item is another one, as in the original, and so under `official_end_columns`.

    Returns:
        () mean over all items read. 0 without any.
    """
    mask = mask.bool()
    following = torch.cat([items[:, 1:], torch.zeros_like(items[:, :1])], 1)
    is_next = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    following = following * is_next[..., None]  # after the last item comes the end, the zero vector
    rows = predictions[mask]
    if not len(rows):
        return predictions.sum() * 0
    if official_end_columns:
        targets = following[mask]
        return F.cross_entropy((rows @ targets.T).float(), torch.arange(len(rows), device=rows.device))
    targets = following[mask & is_next]
    has_next = is_next[mask]
    labels = torch.where(has_next, has_next.cumsum(0) - 1, len(targets))
    scores = torch.cat([rows @ targets.T, rows.new_zeros(len(rows), 1)], 1).float()
    if identities is not None:
        following = torch.cat([identities[:, 1:], identities[:, :1]], 1)
        columns = following[mask & is_next]
        own = torch.where(has_next, following[mask], -1)
        again = own[:, None] == columns[None]
        again[has_next, labels[has_next]] = False
        scores = torch.cat([scores[:, :-1].masked_fill(again, float("-inf")), scores[:, -1:]], 1)
    return F.cross_entropy(scores, labels)


def siamese_loss(images: torch.Tensor, mask: torch.Tensor, margin: float, official_pairs: bool) -> torch.Tensor:
    """Items of one outfit alike, items of different outfits below a margin.

    Args:
        images: (outfits, N, E) raw embeddings; places after the last item hold its repeats.
        mask: (outfits, N) bool, True for items.
        margin: cosine that items of different outfits may reach.
        official_pairs: the repeats are items too, and every item a pair with itself.

    Returns:
        () mean over ordered pairs of different outfits of max(0, cosine - margin), less the mean cosine of ordered pairs
        of one outfit.
    """
    outfits, places = mask.shape
    owner = torch.arange(outfits, device=images.device)[:, None].expand(outfits, places)
    if official_pairs:
        images, owner = images.flatten(0, 1), owner.flatten()
    else:
        images, owner = images[mask.bool()], owner[mask.bool()]
    images = unit(images)
    cosines = images @ images.T
    same = owner[:, None] == owner[None]
    different = ~same
    if not official_pairs:
        same = same & ~torch.eye(len(images), dtype=torch.bool, device=images.device)
    apart = (F.relu(cosines - margin) * different).sum() / different.sum().clamp(min=1)
    return apart - (cosines * same).sum() / same.sum().clamp(min=1)


__all__ = ["sequence_loss", "siamese_loss", "unit", "vse_loss"]
