"""FashionViL: vision-and-language pre-training for fashion, and its five downstream tasks (ECCV 2022)."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from .configuration_fashionvil import FASHION_MEAN, FASHION_STD, FashionViLConfig, FashionViLImageTokenizerConfig
from .heads_fashionvil import (
    FashionViLClassifierOutput,
    FashionViLForClassification,
    FashionViLForComposition,
    FashionViLForRetrieval,
    FashionViLRetrievalOutput,
)
from .image_processing_fashionvil import FashionViLImageProcessor
from .image_tokenizer_fashionvil import FashionViLImageTokenizer, FashionViLImageTokenizerOutput
from .losses_fashionvil import (
    contrastive_loss,
    dot_products,
    query_loss,
    soft_cross_entropy,
    supervised_contrastive_loss,
    triplet_loss,
)
from .modeling_fashionvil import FashionViLModel, FashionViLOutput
from .outfits_fashionvil import FashionViLForOutfitRetrieval, FashionViLOutfitOutput
from .pretraining_fashionvil import (
    TASKS,
    FashionViLForPreTraining,
    FashionViLPreTrainingOutput,
    draw_dropped,
    hardest_texts,
)
from .processing_fashionvil import FashionViLProcessor, change_sentence, product_sentence
from .starting_fashionvil import start_from_backbones

# The class that a folder's configuration names; a folder without a name in it is a plain FashionViLModel.
MODELS = {
    model.__name__: model
    for model in (
        FashionViLModel,
        FashionViLForPreTraining,
        FashionViLForRetrieval,
        FashionViLForComposition,
        FashionViLForClassification,
        FashionViLForOutfitRetrieval,
    )
}

# Inside the project the auto classes find this code without `trust_remote_code`; this file doesn't travel to the Hub.
AutoConfig.register(FashionViLConfig.model_type, FashionViLConfig, exist_ok=True)
AutoConfig.register(FashionViLImageTokenizerConfig.model_type, FashionViLImageTokenizerConfig, exist_ok=True)
# One type of configuration has several heads: transformers picks the one that `architectures` names.
AutoModel.register(FashionViLConfig, tuple(MODELS.values()), exist_ok=True)
AutoModel.register(FashionViLImageTokenizerConfig, FashionViLImageTokenizer, exist_ok=True)
AutoImageProcessor.register(FashionViLConfig, image_processor_classes={"pil": FashionViLImageProcessor}, exist_ok=True)
AutoProcessor.register(FashionViLConfig, FashionViLProcessor, exist_ok=True)

__all__ = [
    "FASHION_MEAN",
    "FASHION_STD",
    "MODELS",
    "TASKS",
    "FashionViLClassifierOutput",
    "FashionViLConfig",
    "FashionViLForClassification",
    "FashionViLForComposition",
    "FashionViLForOutfitRetrieval",
    "FashionViLForPreTraining",
    "FashionViLForRetrieval",
    "FashionViLImageProcessor",
    "FashionViLImageTokenizer",
    "FashionViLImageTokenizerConfig",
    "FashionViLImageTokenizerOutput",
    "FashionViLModel",
    "FashionViLOutfitOutput",
    "FashionViLOutput",
    "FashionViLPreTrainingOutput",
    "FashionViLProcessor",
    "FashionViLRetrievalOutput",
    "change_sentence",
    "contrastive_loss",
    "dot_products",
    "draw_dropped",
    "hardest_texts",
    "product_sentence",
    "query_loss",
    "soft_cross_entropy",
    "start_from_backbones",
    "supervised_contrastive_loss",
    "triplet_loss",
]
