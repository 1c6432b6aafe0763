"""CLIP4Cir: composed image retrieval with CLIP features (ACM TOMM 2023)."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from .configuration_clip4cir import CLIP4CirConfig, CLIP4CirResNetConfig
from .image_processing_clip4cir import CLIP4CirImageProcessor
from .modeling_clip4cir import CLIP4CirModel, CLIP4CirOutput, Combiner
from .processing_clip4cir import CLIP4CirProcessor, caption_forms, choose_form, clean_caption, join_captions

# Inside the project the auto classes find this code without `trust_remote_code`; this file doesn't travel to the Hub.
AutoConfig.register(CLIP4CirConfig.model_type, CLIP4CirConfig, exist_ok=True)
AutoModel.register(CLIP4CirConfig, CLIP4CirModel, exist_ok=True)
AutoImageProcessor.register(CLIP4CirConfig, image_processor_classes={"pil": CLIP4CirImageProcessor}, exist_ok=True)
AutoProcessor.register(CLIP4CirConfig, CLIP4CirProcessor, exist_ok=True)

__all__ = [
    "CLIP4CirConfig",
    "CLIP4CirImageProcessor",
    "CLIP4CirModel",
    "CLIP4CirOutput",
    "CLIP4CirProcessor",
    "CLIP4CirResNetConfig",
    "Combiner",
    "caption_forms",
    "choose_form",
    "clean_caption",
    "join_captions",
]
