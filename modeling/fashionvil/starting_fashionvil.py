"""Published backbones as the start of a FashionViL."""

import torch
from torch import nn
from transformers import PreTrainedModel


@torch.no_grad()
def start_from_backbones(
    model: PreTrainedModel, bert: PreTrainedModel | None = None, vision: PreTrainedModel | None = None
) -> None:
    """Give a fresh model or head the weights of published backbones, as the original starts.

    The image's position and type tables begin as copies of the text's, and the MLM head as BERT's own where `bert` has
    one. The projection of image tokens and the other heads stay as they are.

    Args:
        model: any class of this folder with an image encoder.
        bert: `BertForPreTraining`, `BertForMaskedLM` or `BertModel` of the model's `text_config`.
        vision: a model of the same class as the image encoder.

    Raises:
        ValueError: a backbone of other sizes than the model's.
    """
    inner = getattr(model, "model", model)
    if vision is not None:
        _copy_parameters(vision, inner.image_encoder, "the image encoder")
    if bert is None:
        return
    source = getattr(bert, "bert", bert)
    for target in [inner.bert] if inner.config.share_encoders else [inner.bert, inner.bert_2]:
        text, ours = source.embeddings, target.embeddings
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm"):
            _copy_parameters(getattr(text, name), getattr(ours, name), name)
        for name in ("position_embeddings", "token_type_embeddings"):
            _copy_parameters(getattr(text, name), getattr(ours, f"{name}_visual"), name)
        _copy_parameters(source.encoder, target.encoder, "the transformer")
        if source.pooler is not None:
            _copy_parameters(source.pooler, target.pooler, "the pooler")
    predictions = getattr(getattr(bert, "cls", None), "predictions", None)
    if hasattr(model, "heads") and predictions is not None:
        head = model.heads["mlm"]
        _copy_parameters(predictions.transform.dense, head.transform.dense, "the MLM head")
        _copy_parameters(predictions.transform.LayerNorm, head.transform.LayerNorm, "the MLM head")
        head.bias.copy_(predictions.bias)


def _copy_parameters(source: nn.Module, target: nn.Module, what: str) -> None:
    theirs, ours = source.state_dict(), target.state_dict()
    wrong = [
        name for name in ours.keys() | theirs.keys() if getattr(theirs.get(name), "shape", None) != _shape(ours, name)
    ]
    if wrong:
        raise ValueError(
            f"The backbone doesn't fit {what}: {len(wrong)} tensors are missing or of another shape, such as "
            f"{sorted(wrong)[0]}. Build the configuration from the backbone's own."
        )
    target.load_state_dict(theirs)


def _shape(state: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    return getattr(state.get(name), "shape", None)


__all__ = ["start_from_backbones"]
