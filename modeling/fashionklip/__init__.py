"""FashionKLIP: image-text retrieval with a fashion concept graph (ACL 2023)."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from .configuration_fashionklip import FashionKLIPConfig
from .image_processing_fashionklip import FashionKLIPImageProcessor
from .modeling_fashionklip import FashionKLIPModel, FashionKLIPOutput, contrastive_loss
from .processing_fashionklip import FashionKLIPProcessor, clean_text

# Inside the project the auto classes find this code without `trust_remote_code`; this file doesn't travel to the Hub.
AutoConfig.register(FashionKLIPConfig.model_type, FashionKLIPConfig, exist_ok=True)
AutoModel.register(FashionKLIPConfig, FashionKLIPModel, exist_ok=True)
AutoImageProcessor.register(
    FashionKLIPConfig, image_processor_classes={"pil": FashionKLIPImageProcessor}, exist_ok=True
)
AutoProcessor.register(FashionKLIPConfig, FashionKLIPProcessor, exist_ok=True)

__all__ = [
    "FashionKLIPConfig",
    "FashionKLIPImageProcessor",
    "FashionKLIPModel",
    "FashionKLIPOutput",
    "FashionKLIPProcessor",
    "clean_text",
    "contrastive_loss",
]
