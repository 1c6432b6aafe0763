"""FashionKLIP: a CLIP for fashion that is trained with the concepts of a multi-modal knowledge graph.

Wang et al., "FashionKLIP: Enhancing E-Commerce Image-Text Retrieval with Fashion Multi-Modal Conceptual Knowledge
Graph", ACL 2023 Industry Track, pages 149-158. The concept loss belongs to training (train/engine/concept_loss.py);
what remains afterwards is this model.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_fashionklip import FashionKLIPConfig


@dataclass
class FashionKLIPOutput(ModelOutput):
    """What [`FashionKLIPModel.forward`] returns; a field is None when its inputs were not given.

    Args:
        loss: () mean of the cross entropies over rows and over columns of the logits, whose right answers stand on the
            diagonal. None unless there are as many images as texts.
        logits_per_image: (images, texts) cosines times `exp(logit_scale)`.
        logits_per_text: (texts, images), its transpose.
        image_embeds: (images, D) image features of length one.
        text_embeds: (texts, D) text features of length one.
        concept_embeds: (prompts, D) features of concept prompts, of length one.
        image_features: (images, D) raw image features.
        text_features: (texts, D) raw text features.
        concept_features: (prompts, D) raw features of concept prompts.
    """

    loss: torch.FloatTensor | None = None
    logits_per_image: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    concept_embeds: torch.FloatTensor | None = None
    image_features: torch.FloatTensor | None = None
    text_features: torch.FloatTensor | None = None
    concept_features: torch.FloatTensor | None = None


def normalise(features: torch.Tensor) -> torch.Tensor:
    """Rows of length one, (..., D) -> (..., D); computed in float32, since squares overflow half precision."""
    return F.normalize(features.float(), dim=-1).to(features.dtype)


class FashionKLIPModel(PreTrainedModel):
    """Image tower and text tower.

    Its parts bear the names of transformers' `CLIPModel`: with CLIP's vision transformer as the image tower, the
    weights of one fit the other (`convert_fashionklip.py` writes such folders). `logit_scale` is trained; that it stays
    within [0, ln 100] is the business of the training loop.
    """

    config_class = FashionKLIPConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    # Those of the towers are added by transformers.
    _no_split_modules = []

    def __init__(self, config: FashionKLIPConfig) -> None:
        super().__init__(config)
        if not getattr(MODEL_MAPPING.get(type(config.vision_config), None), "_supports_sdpa", True):
            # A network without attention refuses the implementation that is asked of the whole model.
            config.vision_config._attn_implementation = "eager"
        self.text_model = AutoModel.from_config(config.text_config)
        self.vision_model = AutoModel.from_config(config.vision_config)
        if config.vision_feature_dim is None:
            config.vision_feature_dim = _feature_dim(config)
        self.visual_projection = nn.Linear(config.vision_feature_dim, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FashionKLIPModel):
            # After the parts, whose own rules are transformers'.
            init.constant_(module.logit_scale, float(module.config.logit_scale_init_value))
            for projection in (module.visual_projection, module.text_projection):
                init.normal_(projection.weight, std=projection.in_features**-0.5)
            start_text_tower(module.text_model)
            if module.config.has_clip_vision:
                start_vision_tower(module.vision_model)

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def train(self, mode: bool = True) -> "FashionKLIPModel":
        """Training mode; batch norm stays on its stored statistics unless the configuration says `train_batch_norm`."""
        super().train(mode)
        if mode and not self.config.train_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features of images.

        Args:
            pixel_values: (batch, 3, size, size) as the image processor makes them.

        Returns:
            (batch, D) raw features: normalise them before comparing.
        """
        return self.visual_projection(_pooled(self.vision_model(pixel_values=pixel_values.to(self.dtype))))

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Features of captions, queries or prompts: the state at the first position of the largest id, projected.

        Args:
            input_ids: (batch, tokens), padded on the right. The end-of-text id must be the largest of the vocabulary.
            attention_mask: (batch, tokens), 1 for text. It only tells where to look for the end: attention is causal,
                so padding on the right can't reach the text before it.

        Returns:
            (batch, D) raw features: normalise them before comparing.
        """
        hidden_states = self.text_model(input_ids=input_ids).last_hidden_state  # (batch, tokens, width)
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, -1)
        end = input_ids.argmax(dim=-1)
        pooled = hidden_states[torch.arange(len(end), device=hidden_states.device), end.to(hidden_states.device)]
        return self.text_projection(pooled)

    def compute_logits(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """(images, D) and (texts, D), both of length one -> (images, texts) cosines times `exp(logit_scale)`."""
        # Deviation: in float32 under autocast too; half precision can't tell logits near 100 apart.
        with torch.autocast(image_embeds.device.type, enabled=False):
            scale = self.logit_scale.float().exp().to(image_embeds.device)
            return scale * image_embeds.float() @ text_embeds.float().to(image_embeds.device).T

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        concept_input_ids: torch.Tensor | None = None,
        concept_attention_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> FashionKLIPOutput:
        """Everything that the given inputs allow: features, logits, and the contrastive loss.

        Args:
            pixel_values: (images, 3, size, size).
            input_ids, attention_mask: (texts, tokens); for the loss, text i belongs to image i.
            concept_input_ids, concept_attention_mask: (prompts, tokens) prompts of concepts, any number of them.
            image_features, text_features: (images or texts, D) raw features, in place of pixels or ids.
            return_dict: False for a tuple of the fields that are not None.

        Returns:
            [`FashionKLIPOutput`].

        Raises:
            ValueError: nothing is given, or both the raw features and the inputs they come from.
        """
        pairs = {
            "pixel_values and image_features": (pixel_values, image_features),
            "input_ids and text_features": (input_ids, text_features),
        }
        if concept_input_ids is None and all(value is None for pair in pairs.values() for value in pair):
            raise ValueError("Give at least one of pixel_values, input_ids, concept_input_ids or raw features.")
        for names, (inputs, features) in pairs.items():
            if inputs is not None and features is not None:
                raise ValueError(f"{names} are two ways to say the same thing; give one of them.")

        if pixel_values is not None:
            image_features = self.get_image_features(pixel_values)
        if input_ids is not None:
            text_features = self.get_text_features(input_ids, attention_mask)
        concept_features = None
        if concept_input_ids is not None:
            concept_features = self.get_text_features(concept_input_ids, concept_attention_mask)
        raw = (image_features, text_features, concept_features)
        image_embeds, text_embeds, concept_embeds = (None if value is None else normalise(value) for value in raw)

        loss = logits = None
        if image_embeds is not None and text_embeds is not None:
            logits = self.compute_logits(image_embeds, text_embeds)
            if len(image_embeds) == len(text_embeds):
                loss = contrastive_loss(logits)
        output = FashionKLIPOutput(
            loss=loss,
            logits_per_image=logits,
            logits_per_text=None if logits is None else logits.T,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            concept_embeds=concept_embeds,
            image_features=image_features,
            text_features=text_features,
            concept_features=concept_features,
        )
        return output if return_dict is not False else output.to_tuple()


def contrastive_loss(logits: torch.Tensor) -> torch.Tensor:
    """(batch, batch) logits whose diagonal holds the pairs -> () mean of image-to-text and text-to-image loss."""
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def _pooled(outputs: ModelOutput) -> torch.Tensor:
    """(batch, width) from the output of any transformers vision model."""
    pooled = getattr(outputs, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    states = outputs.last_hidden_state
    return states.mean(dim=(2, 3)) if states.ndim == 4 else states.mean(dim=1)


def _feature_dim(config: FashionKLIPConfig) -> int:
    """Width of the pooled features, read off a picture without content: configurations name it in a dozen ways."""
    if config.vision_config.model_type == "clip_vision_model":
        return config.vision_config.hidden_size
    with torch.device("meta"), torch.no_grad():
        backbone = AutoModel.from_config(config.vision_config).eval()
        picture = torch.empty(1, getattr(config.vision_config, "num_channels", 3), config.image_size, config.image_size)
        return _pooled(backbone(pixel_values=picture)).shape[-1]


# Initial values of a model that starts from nothing, as OpenAI's code sets them. transformers' own rules for CLIP
# differ: there, query, key and value get the smaller deviation and the output projection the larger one, text positions
# start at 0.02, the image tower follows the text tower's rules with 0.02 for patches and positions, and all biases are 0.


def start_text_tower(tower: nn.Module) -> None:
    """Initial values of a `CLIPTextModel`; tensors that were loaded are left alone."""
    init.normal_(tower.embeddings.token_embedding.weight, std=0.02)
    init.normal_(tower.embeddings.position_embedding.weight, std=0.01)
    layers = tower.encoder.layers
    for layer in layers:
        width = layer.embed_dim
        deep = width**-0.5 * (2 * len(layers)) ** -0.5
        attention = layer.self_attn
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            init.normal_(projection.weight, std=width**-0.5)
            init.zeros_(projection.bias)
        init.normal_(attention.out_proj.weight, std=deep)
        init.zeros_(attention.out_proj.bias)
        init.normal_(layer.mlp.fc1.weight, std=(2 * width) ** -0.5)
        init.normal_(layer.mlp.fc2.weight, std=deep)
        for linear in (layer.mlp.fc1, layer.mlp.fc2):
            _default_bias(linear)


def start_vision_tower(tower: nn.Module) -> None:
    """Initial values of a `CLIPVisionModel`: PyTorch's own in the blocks; tensors that were loaded are left alone."""
    embeddings = tower.embeddings
    width = embeddings.embed_dim
    init.normal_(embeddings.class_embedding, std=width**-0.5)
    init.normal_(embeddings.position_embedding.weight, std=width**-0.5)
    init.kaiming_uniform_(embeddings.patch_embedding.weight, a=5**0.5)
    for layer in tower.encoder.layers:
        attention = layer.self_attn
        # PyTorch's attention draws the three as one (3 width, width) matrix with Xavier's bound.
        bound = (6 / (4 * width)) ** 0.5
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            init.uniform_(projection.weight, -bound, bound)
            init.zeros_(projection.bias)
        init.kaiming_uniform_(attention.out_proj.weight, a=5**0.5)
        init.zeros_(attention.out_proj.bias)
        for linear in (layer.mlp.fc1, layer.mlp.fc2):
            init.kaiming_uniform_(linear.weight, a=5**0.5)
            _default_bias(linear)


def _default_bias(linear: nn.Linear) -> None:
    bound = linear.in_features**-0.5
    init.uniform_(linear.bias, -bound, bound)


FashionKLIPModel.register_for_auto_class("AutoModel")

__all__ = ["FashionKLIPModel", "FashionKLIPOutput", "contrastive_loss"]
