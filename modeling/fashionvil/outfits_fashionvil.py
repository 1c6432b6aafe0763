"""Outfit complementary item retrieval on FashionViL's image encoder: a CSA-Net (arXiv 1912.08967), as the original has it.

Items are compared in subspaces, whose weights depend on the pair of categories.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_fashionvil import FashionViLConfig
from .layers_fashionvil import HeadLinear, ScaledNorm
from .losses_fashionvil import contrastive_loss, dot_products, triplet_loss
from .modeling_fashionvil import FashionViLPreTrainedModel, freeze_batch_norm, grid_channels, grid_tokens


@dataclass
class FashionViLOutfitOutput(ModelOutput):
    """What [`FashionViLForOutfitRetrieval.forward`] returns.

    Args:
        loss: () contrastive loss over outfits and targets, or triplet loss where negatives are given.
        logits: (outfits, targets) scores.
        query_embeds: (outfits, D) means over each outfit's items; of one item it has length s, a mean is not normalised
            again.
        target_embeds: (outfits, D).
        item_features: (items, D) raw features of the outfits' items.
        subspace_weights: (items, conditions) weights of the subspaces.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    query_embeds: torch.FloatTensor | None = None
    target_embeds: torch.FloatTensor | None = None
    item_features: torch.FloatTensor | None = None
    subspace_weights: torch.FloatTensor | None = None


class SubspaceMasks(nn.Embedding):
    """(conditions, D) masks; they start standard normal."""


class SubspaceFusion(nn.Module):
    """Features seen in weighted subspaces."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__()
        self.num_categories = config.outfit_categories
        self.weight_classifier = nn.Sequential(
            HeadLinear(2 * config.outfit_categories, config.outfit_subspace_dim),
            nn.ReLU(),
            HeadLinear(config.outfit_subspace_dim, config.outfit_conditions),
        )
        self.masks = SubspaceMasks(config.outfit_conditions, config.outfit_embedding_dim)

    def weights(self, category_pairs: torch.Tensor) -> torch.Tensor:
        """(..., 2) categories of an item and of the target -> (..., conditions) weights of sum one.

        Raises:
            ValueError: a category that the model doesn't have.
        """
        if (
            category_pairs.numel()
            and not 0 <= int(category_pairs.min()) <= int(category_pairs.max()) < self.num_categories
        ):
            raise ValueError(
                f"Categories are numbered 0 to {self.num_categories - 1}; got {int(category_pairs.min())} to "
                f"{int(category_pairs.max())}."
            )
        pairs = F.one_hot(category_pairs.long(), self.num_categories).flatten(-2).to(self.masks.weight.dtype)
        return self.weight_classifier(pairs).softmax(dim=-1)

    def forward(self, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(..., D) features and (..., conditions) weights -> (..., D) mean over the weighted subspaces."""
        return features * (weights @ self.masks.weight) / len(self.masks.weight)


class FashionViLForOutfitRetrieval(FashionViLPreTrainedModel):
    """Finds the item of a wanted category that goes with an outfit.

    Batch norm always uses its stored statistics and isn't trained, nor are the stages that the configuration freezes.
    """

    main_input_name = "question_pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        self.image_encoder = AutoModel.from_config(config.vision_config)
        if config.vision_feature_dim is None:
            config.vision_feature_dim = grid_channels(config)
        self.proj_layer = HeadLinear(config.vision_feature_dim, config.outfit_embedding_dim)
        self.fusion_module = SubspaceFusion(config)
        self.norm_layer = ScaledNorm(config.norm_scale_init_value)
        self.post_init()
        self.train()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, SubspaceMasks):
            init.normal_(module.weight)
        else:
            super()._init_weights(module)

    def _freeze(self) -> None:
        for module in self.image_encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(False)
        stages = getattr(getattr(self.image_encoder, "encoder", None), "stages", [])
        for number in self.config.outfit_frozen_stages:
            if not 1 <= number <= len(stages):
                raise ValueError(f"outfit_frozen_stages names stage {number}; the image encoder has {len(stages)}.")
            stages[number - 1].requires_grad_(False)

    def train(self, mode: bool = True) -> "FashionViLForOutfitRetrieval":
        """Training mode; batch norm keeps its stored statistics, and what isn't trained stays so."""
        super().train(mode)
        freeze_batch_norm(self)
        # Here and not where it is built, since loading makes every parameter a trained one and then calls `eval`.
        self._freeze()
        return self

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features of items, in no subspace yet.

        Args:
            pixel_values: (items, 3, size, size).

        Returns:
            (items, D) raw features, for `item_embeds`, `target_embeds` and `score_candidates`.
        """
        grid = grid_tokens(self.image_encoder(pixel_values=pixel_values.to(self.dtype)))
        return self.proj_layer(grid.mean(dim=1))

    def item_embeds(self, features: torch.Tensor, category_pairs: torch.Tensor) -> torch.Tensor:
        """(..., D) raw features of items, and (..., 2) categories of the item and of the target -> (..., D) of length s."""
        return self.norm_layer(self.fusion_module(features, self.fusion_module.weights(category_pairs)))

    def target_embeds(self, features: torch.Tensor, category_pairs: torch.Tensor) -> torch.Tensor:
        """(..., D) raw features of targets, seen beside an item -> (..., D) of length s; arguments as in `item_embeds`."""
        if self.config.official_outfit_target:
            return self.norm_layer(features)
        return self.item_embeds(features, category_pairs)

    def score_candidates(
        self,
        item_features: torch.Tensor,
        item_categories: torch.Tensor,
        candidate_features: torch.Tensor,
        candidate_categories: torch.Tensor,
    ) -> torch.Tensor:
        """How well each candidate goes with one outfit.

        Args:
            item_features: (items, D) of `get_image_features`, the outfit's.
            item_categories: (items,).
            candidate_features: (candidates, D) of `get_image_features`.
            candidate_categories: (candidates,), the same for all or each its own (fill in the blank).

        Returns:
            (candidates,) float32 means over the items of the products of embeddings.

        Raises:
            ValueError: an outfit without items.
        """
        if not len(item_features):
            raise ValueError("An outfit needs at least one item to find another one for.")
        count = (len(candidate_features), len(item_features))
        pairs = torch.stack(
            [item_categories[None, :].expand(count), candidate_categories[:, None].expand(count)], dim=-1
        )
        width = item_features.shape[-1]
        items = self.item_embeds(item_features[None].expand(*count, width), pairs)
        targets = self.target_embeds(candidate_features[:, None].expand(*count, width), pairs)
        return (items * targets).sum(dim=-1).mean(dim=-1)

    def forward(
        self,
        question_pixel_values: torch.Tensor,
        target_pixel_values: torch.Tensor,
        category_pairs: torch.Tensor,
        outfit_index: torch.Tensor | None = None,
        negative_pixel_values: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> FashionViLOutfitOutput | tuple:
        """Outfits and the items that complete them.

        Args:
            question_pixel_values: (items, 3, size, size) items of all outfits.
            target_pixel_values: (outfits, 3, size, size).
            category_pairs: (items, 2) category of the item and of its outfit's target.
            outfit_index: (items,) row of the outfit that an item belongs to; None: one item per outfit.
            negative_pixel_values: (outfits, 3, size, size) wrong targets of the right category; the loss is then the
                triplet loss. (The original names it, and never computes its negatives.)
            return_dict: False for a tuple of the fields that are not None.

        Raises:
            ValueError: the numbers of items, outfits and pairs don't fit each other.
        """
        items = self.get_image_features(question_pixel_values)
        if outfit_index is None:
            outfit_index = torch.arange(len(items), device=items.device)
        outfits = len(target_pixel_values)
        counts = torch.bincount(outfit_index, minlength=outfits)
        if len(category_pairs) != len(items) or len(outfit_index) != len(items) or len(counts) != outfits:
            raise ValueError(
                f"There are {len(items)} items, {len(category_pairs)} category pairs, {len(outfit_index)} outfit numbers "
                f"up to {len(counts) - 1} and {outfits} targets; each item needs a pair and a target."
            )
        if not counts.all():
            raise ValueError(f"Outfit {int(counts.argmin())} has no items.")

        def per_outfit(embeds: torch.Tensor) -> torch.Tensor:
            sums = embeds.new_zeros(outfits, embeds.shape[-1]).index_add(0, outfit_index, embeds)
            return sums / counts[:, None]

        weights = self.fusion_module.weights(category_pairs)
        queries = per_outfit(self.norm_layer(self.fusion_module(items, weights)))

        def embedded(pixel_values: torch.Tensor) -> torch.Tensor:
            # Beside each item of its outfit.
            features = self.get_image_features(pixel_values)[outfit_index]
            return per_outfit(self.target_embeds(features, category_pairs))

        targets = embedded(target_pixel_values)
        if negative_pixel_values is None:
            loss = contrastive_loss(queries, targets)
        else:
            loss = triplet_loss(queries, targets, embedded(negative_pixel_values), self.config.outfit_margin)
        output = FashionViLOutfitOutput(
            loss=loss,
            logits=dot_products(queries, targets),
            query_embeds=queries,
            target_embeds=targets,
            item_features=items,
            subspace_weights=weights,
        )
        return output if return_dict is not False else output.to_tuple()


FashionViLForOutfitRetrieval.register_for_auto_class("AutoModel")

__all__ = ["FashionViLForOutfitRetrieval", "FashionViLOutfitOutput"]
