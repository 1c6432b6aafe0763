"""The parts that FashionViL's model and heads are built of."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertEncoder, BertPooler, BertPreTrainedModel


class ScaledNorm(nn.Module):
    """(..., D) -> (..., D) float32: rows of length s, which is learned and shared by both sides of a product."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.initial = float(initial)
        self.norm_s = nn.Parameter(torch.full((1,), self.initial))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Deviation: in float32 under autocast too, as the logits.
        with torch.autocast(features.device.type, enabled=False):
            return self.norm_s.float() * F.normalize(features.float(), dim=-1)


class HeadLinear(nn.Linear):
    """A linear layer that starts with PyTorch's own values, as the original's heads do, not with BERT's."""


class Transform(nn.Module):
    """Linear layer, activation, layer norm: what stands before a classifier."""

    def __init__(self, text: BertConfig) -> None:
        super().__init__()
        self.dense = HeadLinear(text.hidden_size, text.hidden_size)
        self.activation = ACT2FN[text.hidden_act]
        self.LayerNorm = nn.LayerNorm(text.hidden_size, eps=text.layer_norm_eps)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.activation(self.dense(states)))


class Embeddings(nn.Module):
    """Words and image tokens with their positions and types, under one layer norm."""

    def __init__(self, text: BertConfig, vision_feature_dim: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(text.vocab_size, text.hidden_size, padding_idx=text.pad_token_id)
        self.position_embeddings = nn.Embedding(text.max_position_embeddings, text.hidden_size)
        self.token_type_embeddings = nn.Embedding(text.type_vocab_size, text.hidden_size)
        self.position_embeddings_visual = nn.Embedding(text.max_position_embeddings, text.hidden_size)
        self.token_type_embeddings_visual = nn.Embedding(text.type_vocab_size, text.hidden_size)
        self.projection = nn.Linear(vision_feature_dim, text.hidden_size)
        self.LayerNorm = nn.LayerNorm(text.hidden_size, eps=text.layer_norm_eps)
        self.dropout = nn.Dropout(text.hidden_dropout_prob)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        grid: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, L) ids and (batch, N, channels) grid, or one of them -> (batch, L + N, H), text first.

        Raises:
            ValueError: more positions than the model has.
        """
        parts = []
        if input_ids is not None:
            if token_type_ids is None:
                token_type_ids = torch.zeros_like(input_ids)
            words = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
            parts.append(words + self._positions(self.position_embeddings, input_ids.shape[1], "word pieces"))
        if grid is not None:
            # Image positions begin at 0 again; the type is always the first.
            tokens = self.projection(grid) + self.token_type_embeddings_visual.weight[0]
            parts.append(tokens + self._positions(self.position_embeddings_visual, grid.shape[1], "image tokens"))
        return self.dropout(self.LayerNorm(torch.cat(parts, dim=1)))

    @staticmethod
    def _positions(table: nn.Embedding, count: int, what: str) -> torch.Tensor:
        if count > table.num_embeddings:
            raise ValueError(f"There are {count} {what}, and the model has {table.num_embeddings} positions for them.")
        return table.weight[:count]


class Transformer(BertPreTrainedModel):
    """BERT over text, over a grid, or over both; a model of its own, so that it has its own choice of attention."""

    def __init__(self, config: BertConfig, vision_feature_dim: int) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config, vision_feature_dim)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        grid: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, L + N, H) states; `attention_mask` is over all positions, None attends to all."""
        embeddings = self.embeddings(input_ids, grid, token_type_ids)
        mask = create_bidirectional_mask(config=self.config, inputs_embeds=embeddings, attention_mask=attention_mask)
        return self.encoder(embeddings, attention_mask=mask).last_hidden_state


__all__ = ["Embeddings", "HeadLinear", "ScaledNorm", "Transform", "Transformer"]
