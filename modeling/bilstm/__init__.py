"""Bi-LSTM: outfits as sequences of items (ACM MM 2017)."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from .configuration_bilstm import BiLSTMConfig, BiLSTMInceptionConfig
from .image_processing_bilstm import BiLSTMImageProcessor
from .modeling_bilstm import BiLSTMModel, BiLSTMOutput
from .processing_bilstm import BiLSTMProcessor

# Inside the project the auto classes find this code without `trust_remote_code`; this file doesn't travel to the Hub.
AutoConfig.register(BiLSTMConfig.model_type, BiLSTMConfig, exist_ok=True)
AutoModel.register(BiLSTMConfig, BiLSTMModel, exist_ok=True)
AutoImageProcessor.register(BiLSTMConfig, image_processor_classes={"pil": BiLSTMImageProcessor}, exist_ok=True)
AutoProcessor.register(BiLSTMConfig, BiLSTMProcessor, exist_ok=True)

__all__ = [
    "BiLSTMConfig",
    "BiLSTMImageProcessor",
    "BiLSTMInceptionConfig",
    "BiLSTMModel",
    "BiLSTMOutput",
    "BiLSTMProcessor",
]
