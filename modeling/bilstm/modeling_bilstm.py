"""Outfits as sequences: a bidirectional LSTM over the items, a visual-semantic embedding beside it.

Han et al., "Learning Fashion Compatibility with Bidirectional LSTMs", ACM MM 2017; official code: xthan/polyvore.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_bilstm import BiLSTMConfig
from .inception_bilstm import InceptionV3, ShiftedBatchNorm
from .losses_bilstm import sequence_loss, siamese_loss, unit, vse_loss
from .recurrent_bilstm import RecurrentCell, State, reversed_within

DIRECTIONS = ("forward", "backward")
ROWS = 512  # predictions that are compared with the bank at a time


@dataclass
class BiLSTMOutput(ModelOutput):
    """What [`BiLSTMModel.forward`] returns; a field is None when the variant or the inputs don't have it.

    Args:
        loss: () weighted sum of the variant's losses.
        vse_loss, forward_loss, backward_loss, siamese_loss: () each alone.
        image_embeds: (outfits, N, E) raw, in the space of pictures and texts.
        item_embeds: (outfits, N, E) raw, in the space of the recurrent networks.
        text_embeds: (outfits, N, E) sums of word vectors.
        forward_outputs, backward_outputs: (outfits, N, U), in reading order, 0 after the last item.
        forward_predictions, backward_predictions: (outfits, N, E) of the item that follows in reading order.
    """

    loss: torch.FloatTensor | None = None
    vse_loss: torch.FloatTensor | None = None
    forward_loss: torch.FloatTensor | None = None
    backward_loss: torch.FloatTensor | None = None
    siamese_loss: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    item_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    forward_outputs: torch.FloatTensor | None = None
    backward_outputs: torch.FloatTensor | None = None
    forward_predictions: torch.FloatTensor | None = None
    backward_predictions: torch.FloatTensor | None = None


class ItemWords(nn.Embedding):
    """Word vectors whose mean stands for an item. The original has none: its recurrent networks read pictures alone.

    They begin farther apart than its other tables: means of several words near 0 tell no items apart, and training
    then takes many epochs to begin.
    """


class BiLSTMModel(PreTrainedModel):
    """Image network, two projections of its features, word table, and a recurrent network in each direction."""

    config_class = BiLSTMConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # Those of a transformers backbone are added by transformers.
    _no_split_modules = []

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        if config.has_inception:
            self.vision_model = InceptionV3(config.vision_config)
            config.vision_feature_dim = self.vision_model.channels
        elif config.vision_config is not None:
            if not getattr(MODEL_MAPPING.get(type(config.vision_config), None), "_supports_sdpa", True):
                # A network without attention refuses the implementation that is asked of the whole model.
                config.vision_config._attn_implementation = "eager"
            self.vision_model = AutoModel.from_config(config.vision_config)
            if config.vision_feature_dim is None:
                config.vision_feature_dim = _feature_dim(config)
        features, size, hidden = config.vision_feature_dim, config.embedding_dim, config.hidden_size
        has = {"image": config.has_images and config.vision_config is not None, "text": config.has_text}
        self.input_modalities = tuple(name for name in self.input_modalities if has[name])
        if config.has_images:
            self.image_embedding = nn.Linear(features, size, bias=False)
        if config.has_text:
            self.word_embedding = nn.Embedding(config.vocab_size, size)
        if config.has_recurrent:
            if config.has_images:
                self.item_embedding = nn.Linear(features, size, bias=False)
            if config.item_inputs != "image":
                self.item_word_embedding = ItemWords(config.vocab_size, size)
            for direction in DIRECTIONS:
                self.add_module(f"{direction}_cell", RecurrentCell(config.cell, size, hidden))
                self.add_module(f"{direction}_head", nn.Linear(hidden, size))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Uniform within `initializer_range`, biases 0, as the original; convolutions as He et al. have them.

        Every rule is one of the module that owns the tensors: transformers doesn't call this for modules without tensors
        of their own, as the model itself is. A transformers backbone has its own rules.
        """
        spread = self.config.initializer_range
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, ShiftedBatchNorm):
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
        elif isinstance(module, ItemWords):
            init.normal_(module.weight, std=self.config.item_word_deviation)
        elif isinstance(module, nn.Linear | nn.Embedding):
            init.uniform_(module.weight, -spread, spread)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
        elif isinstance(module, RecurrentCell):
            init.uniform_(module.weight_ih, -spread, spread)
            init.uniform_(module.weight_hh, -spread, spread)
            bias = torch.zeros_like(module.bias)
            if module.kind == "gru":
                bias[: 2 * module.hidden] = 1
            init.copy_(module.bias, bias)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        if not self.config.has_text:
            raise NotImplementedError(f"The variant {self.config.variant!r} has no word table.")
        return self.word_embedding

    def train(self, mode: bool = True) -> "BiLSTMModel":
        """Training mode; batch norm stays on its stored statistics unless the configuration says `train_batch_norm`."""
        super().train(mode)
        if mode and not self.config.train_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm | ShiftedBatchNorm):
                    module.eval()
        return self

    # Features

    def get_pooled_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, 3, d, d) pictures of the image processor -> (batch, F) features of the image network.

        Raises:
            ValueError: the model has no image network.
        """
        if self.config.vision_config is None:
            raise ValueError("This model has no image network: it reads image_features (batch, F), not pictures.")
        outputs = self.vision_model(pixel_values.to(self.dtype))
        return outputs if self.config.has_inception else _pooled(outputs)

    def get_image_features(
        self, pixel_values: torch.Tensor | None = None, image_features: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pictures in the space that they share with texts.

        Args:
            pixel_values: (batch, 3, d, d) as the image processor makes them.
            image_features: (batch, F) in their place.

        Returns:
            (batch, E) raw features: normalise them before comparing. Those of "bilstm-no-vse" were never trained.

        Raises:
            ValueError: the model reads texts alone, or neither or both of pictures and features are given.
        """
        if not self.config.has_images:
            raise ValueError('item_inputs is "text": the model reads no pictures. Take get_item_features.')
        return self.image_embedding(self._pooled_or_given(pixel_values, image_features))

    def get_item_features(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Items in the space of the recurrent networks.

        Args:
            pixel_values, image_features: as in `get_image_features`, for item_inputs "image" and "both".
            input_ids, attention_mask: (batch, words), for "text" and "both": the mean of the words' vectors is added.

        Returns:
            (batch, E), compared by inner products as it is.

        Raises:
            ValueError: the variant has no recurrent networks, or an input of the configuration is missing.
        """
        self._need_recurrent("get_item_features")
        parts = []
        if self.config.has_images:
            parts.append(self.item_embedding(self._pooled_or_given(pixel_values, image_features)))
        if self.config.item_inputs != "image":
            if input_ids is None:
                raise ValueError(f'item_inputs is "{self.config.item_inputs}": give the items\' input_ids.')
            mask = (input_ids != 0 if attention_mask is None else attention_mask)[..., None].to(self.dtype)
            words = self.item_word_embedding(input_ids)
            parts.append((words * mask).sum(-2) / mask.sum(-2).clamp(min=1))
        return sum(parts)

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Texts in the space that they share with pictures: the sum of their words' vectors.

        Args:
            input_ids: (batch, words) numbers of words, 0 for padding.
            attention_mask: (batch, words), 1 for words; None takes every number but 0.

        Returns:
            (batch, E) raw features: normalise them before comparing. 0 for a text without known words.

        Raises:
            ValueError: the variant has no word table, or a number is not in it.
        """
        if not self.config.has_text:
            raise ValueError(f"The variant {self.config.variant!r} has no word table.")
        if input_ids.numel() and int(input_ids.max()) >= self.config.vocab_size:
            raise ValueError(
                f"input_ids holds {int(input_ids.max())}; the word table has {self.config.vocab_size} rows. Use the "
                "model's own processor."
            )
        mask = input_ids != 0 if attention_mask is None else attention_mask
        words = self.word_embedding(input_ids)
        return (words * mask[..., None].to(words.dtype)).sum(dim=-2)

    def _pooled_or_given(self, pixel_values, image_features) -> torch.Tensor:
        if (pixel_values is None) == (image_features is None):
            raise ValueError("Give pixel_values or image_features, one of the two.")
        return self.get_pooled_features(pixel_values) if image_features is None else image_features.to(self.dtype)

    def _need_recurrent(self, what: str) -> None:
        if not self.config.has_recurrent:
            raise ValueError(f"{what} needs recurrent networks; the variant {self.config.variant!r} has none.")

    # Reading sequences

    def read(self, items: torch.Tensor, lengths: torch.Tensor, direction: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one direction over outfits.

        Args:
            items: (outfits, N, E) item features in the outfits' order.
            lengths: (outfits,) numbers of items.
            direction: "forward", or "backward" from the last item to the first.

        Returns:
            (outfits, N, U) outputs and (outfits, N, E) predictions of what follows, both in reading order. After the
            last item outputs are 0 and predictions the bias.
        """
        cell, head = getattr(self, f"{direction}_cell"), getattr(self, f"{direction}_head")
        read = reversed_within(items, lengths) if direction == "backward" else items
        dropout = self.config.recurrent_dropout if self.training else 0.0
        outputs = F.dropout(cell(F.dropout(read, dropout)), dropout)
        mask = torch.arange(items.shape[1], device=items.device)[None] < lengths.to(items.device)[:, None]
        outputs = outputs * mask[..., None].to(outputs.dtype)
        return outputs, head(outputs)

    def step(self, items: torch.Tensor, state: State | None, direction: str) -> tuple[torch.Tensor, State]:
        """One more item, (batch, E), after a state (None: the start) -> (batch, E) prediction and the next state."""
        cell = getattr(self, f"{direction}_cell")
        output, state = cell.step(items, cell.start(items) if state is None else state)
        return getattr(self, f"{direction}_head")(output), state

    # Scoring

    @torch.no_grad()
    def score_outfits(
        self, items: torch.Tensor, lengths: torch.Tensor, bank: torch.Tensor, block: int = 2048
    ) -> dict[str, torch.Tensor]:
        """Compatibility of outfits: mean log-probability of each next item, and of the end, among all of a bank.

        Args:
            items: (outfits, N, E) item features in the outfits' order, padded with anything.
            lengths: (outfits,) numbers of items, 1 or more.
            bank: (T, E) item features that the probabilities are taken over; the end is added to them.
            block: bank rows at a time; bounds the memory to (512, block).

        Returns:
            "forward" and "backward": (outfits,) scores; higher is more compatible. The outfit's score is their sum.
        """
        self._need_recurrent("score_outfits")
        scores = {}
        mask = torch.arange(items.shape[1], device=items.device)[None] < lengths.to(items.device)[:, None]
        for direction in DIRECTIONS:
            _, predictions = self.read(items, lengths, direction)
            read = reversed_within(items, lengths) if direction == "backward" else items
            following = torch.cat([read[:, 1:], torch.zeros_like(read[:, :1])], 1)
            is_next = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
            right = (predictions * following * is_next[..., None]).sum(-1)
            rows = predictions[mask].float()
            total = torch.cat([_log_sum(part, bank, block) for part in rows.split(ROWS)]) if len(rows) else rows[:, 0]
            losses = torch.zeros(mask.shape, dtype=torch.float32, device=items.device)
            losses[mask] = right[mask].float() - total
            scores[direction] = losses.sum(1) / lengths.to(items.device)
        return scores

    @torch.no_grad()
    def score_candidates(
        self,
        items: torch.Tensor,
        lengths: torch.Tensor,
        blank_positions: torch.Tensor,
        candidates: torch.Tensor,
        direction: str = "both",
    ) -> torch.Tensor:
        """Fill in the blank: the probability of each candidate among the candidates.

        Args:
            items: (questions, N, E) item features of the outfits without the blank.
            lengths: (questions,) numbers of these items.
            blank_positions: (questions,) place of the blank in the whole outfit, from 1.
            candidates: (questions, A, E).
            direction: "both" (the mean; one alone where the blank is first or last), "forward" or "backward".

        Returns:
            (questions, A) float64; NaN where a direction has nothing to read, as the forward one before a first blank.

        Raises:
            ValueError: an unknown direction, or a blank outside its outfit.
        """
        self._need_recurrent("score_candidates")
        if direction not in ("both", *DIRECTIONS):
            raise ValueError(f"direction must be both, forward or backward; got {direction!r}.")
        outside = (blank_positions < 1) | (blank_positions > lengths + 1)
        if outside.any():
            place = int(outside.nonzero()[0])
            raise ValueError(
                f"question {place}: the blank is at {int(blank_positions[place])} of {int(lengths[place]) + 1} items."
            )
        found = []
        for name in DIRECTIONS if direction == "both" else (direction,):
            _, predictions = self.read(items, lengths, name)
            # How many items are read before the blank.
            count = blank_positions - 1 if name == "forward" else lengths - blank_positions + 1
            last = predictions[torch.arange(len(items), device=items.device), (count - 1).clamp(min=0)]
            scores = torch.einsum("qe,qae->qa", last.double(), candidates.double()).softmax(-1)
            found.append(torch.where((count > 0)[:, None], scores, scores.new_tensor(float("nan"))))
        return torch.stack(found).nanmean(0)

    @torch.no_grad()
    def score_pooled(self, images: torch.Tensor, lengths: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Fill in the blank without order: cosine of each candidate with the mean of the question's items, in [0, 1].

        Args:
            images: (questions, N, E) image features of `get_image_features`, padded with anything.
            lengths: (questions,) numbers of items, 1 or more. candidates: (questions, A, E).

        Returns:
            (questions, A) (cosine + 1) / 2.
        """
        mask = torch.arange(images.shape[1], device=images.device)[None] < lengths.to(images.device)[:, None]
        mean = (images * mask[..., None]).sum(1) / lengths.to(images.device)[:, None]
        return (torch.einsum("qe,qae->qa", unit(mean), unit(candidates)) + 1) / 2

    # Training

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        item_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        identities: torch.Tensor | None = None,
        return_loss: bool = True,
        return_dict: bool | None = None,
    ) -> BiLSTMOutput:
        """Embeddings, predictions and losses of a batch of outfits.

        Args:
            pixel_values: (outfits, N, 3, d, d), N at most `max_items`; places after an outfit's last item are ignored
                (except under `official_siamese_pairs`, where they hold repeats of it). (outfits, 3, d, d) is N = 1.
            item_mask: (outfits, N), 1 for items, ones before zeros; None for all.
            input_ids, attention_mask: (outfits, N, words) the items' texts; without them there is no VSE loss.
            image_features: (outfits, N, F) in place of pictures.
            identities: (outfits, N) numbers of products, see `sequence_loss`.
            return_loss: False for embeddings and predictions alone.
            return_dict: False for a tuple of the fields that are not None.

        Returns:
            [`BiLSTMOutput`].

        Raises:
            ValueError: neither or both of pictures and features, or an outfit without items.
        """
        if input_ids is not None and input_ids.ndim == 2:
            input_ids = input_ids[:, None]
            attention_mask = attention_mask if attention_mask is None else attention_mask[:, None]
        features = self._features_of(pixel_values, image_features) if self.config.has_images else None
        places = (features if features is not None else input_ids).shape[:2]
        mask = torch.ones(places, dtype=torch.bool, device=self.device) if item_mask is None else item_mask.bool()
        lengths = mask.sum(1)
        if not bool((lengths > 0).all()):
            raise ValueError(f"Outfit {int((lengths == 0).nonzero()[0])} of the batch has no items.")
        output = BiLSTMOutput()
        if features is not None:
            output.image_embeds = self.image_embedding(features)
        if self.config.has_recurrent:
            output.item_embeds = self.get_item_features(None, input_ids, attention_mask, features)
            for direction in DIRECTIONS:
                outputs, predictions = self.read(output.item_embeds, lengths, direction)
                output[f"{direction}_outputs"], output[f"{direction}_predictions"] = outputs, predictions
        kept = None
        if input_ids is not None and self.config.has_text:
            attended = input_ids != 0 if attention_mask is None else attention_mask
            output.text_embeds = self.get_text_features(input_ids, attended)
            kept = attended.sum(-1) > 1
        if return_loss:
            self.add_losses(output, mask, kept, identities)
        return output if return_dict is not False else output.to_tuple()

    def _features_of(self, pixel_values, image_features) -> torch.Tensor:
        """(outfits, N, F) features of pictures, or those that are given."""
        if (pixel_values is None) == (image_features is None):
            raise ValueError("Give pixel_values or image_features, one of the two.")
        if image_features is not None:
            features = image_features[:, None] if image_features.ndim == 2 else image_features
            return features.to(self.dtype)
        if pixel_values.ndim == 4:
            pixel_values = pixel_values[:, None]
        features = self.get_pooled_features(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])
        trained = self.training and self.config.train_batch_norm
        return F.dropout(features, self.config.image_dropout) if trained else features

    def add_losses(
        self,
        output: BiLSTMOutput,
        item_mask: torch.Tensor,
        text_mask: torch.Tensor | None = None,
        identities: torch.Tensor | None = None,
    ) -> None:
        """Fill in the losses of an output whose tensors may come from several processes.

        Args:
            output: embeddings and predictions. item_mask: (outfits, N) bool.
            text_mask: (outfits, N) bool, items whose text has two words or more; None without texts.
            identities: (outfits, N) numbers of products, see `sequence_loss`.
        """
        config, parts = self.config, []
        if config.variant == "siamese":
            output.siamese_loss = siamese_loss(
                output.image_embeds, item_mask, config.siamese_margin, config.official_siamese_pairs
            )
            parts.append(output.siamese_loss)
        elif text_mask is not None and config.variant != "bilstm-no-vse" and config.vse_factor > 0:
            kept = text_mask & item_mask
            output.vse_loss = vse_loss(output.image_embeds, output.text_embeds, kept, config.vse_margin)
            parts.append(config.vse_factor * output.vse_loss)
        if config.has_recurrent:
            lengths = item_mask.sum(1)
            for direction, factor in zip(DIRECTIONS, (config.forward_factor, config.backward_factor), strict=True):
                read = output.item_embeds
                read = reversed_within(read, lengths) if direction == "backward" else read
                predictions = output[f"{direction}_predictions"]
                same = identities
                if identities is not None and direction == "backward":
                    same = reversed_within(identities, lengths)
                loss = sequence_loss(predictions, read, item_mask, config.official_end_columns, same)
                output[f"{direction}_loss"] = loss
                if factor > 0:
                    parts.append(factor * loss)
        if parts:
            output.loss = sum(parts)


def _log_sum(rows: torch.Tensor, bank: torch.Tensor, block: int) -> torch.Tensor:
    """(n, E) -> (n,) logarithm of the sum of exponentials of all inner products with a bank, and of the end's, 0."""
    total = rows.new_zeros(len(rows))
    for part in bank.split(block):
        scores = rows @ part.float().T
        largest = scores.amax(1, keepdim=True)
        # In place: blocks of this size stay in the cache, copies of them would not.
        total = torch.logaddexp(total, scores.sub_(largest).exp_().sum(1).log_() + largest[:, 0])
    return total


def _pooled(outputs: ModelOutput) -> torch.Tensor:
    """(batch, width) from the output of any transformers vision model."""
    pooled = getattr(outputs, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    states = outputs.last_hidden_state
    return states.mean(dim=(2, 3)) if states.ndim == 4 else states.mean(dim=1)


def _feature_dim(config: BiLSTMConfig) -> int:
    """Width of the pooled features, read off a picture without content: configurations name it in a dozen ways."""
    if config.vision_config.model_type == "clip_vision_model":
        return config.vision_config.hidden_size
    with torch.device("meta"), torch.no_grad():
        backbone = AutoModel.from_config(config.vision_config).eval()
        picture = torch.empty(1, getattr(config.vision_config, "num_channels", 3), config.image_size, config.image_size)
        return _pooled(backbone(pixel_values=picture)).shape[-1]


BiLSTMModel.register_for_auto_class("AutoModel")

__all__ = ["BiLSTMModel", "BiLSTMOutput"]
