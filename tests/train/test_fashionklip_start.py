"""FashionKLIP's training starts from every official checkpoint with exactly the weights that stand in it."""

import json
from collections import OrderedDict

import pytest
import torch

from data_scripts.fashionklip_files import KlipLayout, NpzImages, read_captions
from modeling.fashionklip import FashionKLIPImageProcessor, FashionKLIPModel, FashionKLIPProcessor
from modeling.fashionklip.convert_fashionklip import model_from_official, training_checkpoint
from tests.modeling.clip4cir_examples import official_clip, script_archive, tiny_tokenizer
from train import fashionklip_train
from train.engine.fashionklip import starting_model
from train.engine.fashionklip_arguments import StartArguments

from .conftest import losses, run_here
from .test_fashionklip_programs import TREE

TEXT_HEADS = 4  # of the EasyNLP folder, which states them; the other layouts have width / 64 = 1


def official_state() -> dict[str, torch.Tensor]:
    """Two layers for images of 16 pixels and one for texts of at most 20 tokens, rounded as OpenAI's archive is."""
    state = official_clip("vit", context=20)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("transformer.resblocks.1.")}
    state["visual.positional_embedding"] = state["visual.positional_embedding"][:5]
    return {name: tensor if "ln_" in name else tensor.half().float() for name, tensor in state.items()}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """One file or folder per layout of the original, and a tokenizer."""
    folder, state = tmp_path_factory.mktemp("official"), official_state()
    script_archive(state, folder / "ViT-B-32.pt")
    torch.save(training_checkpoint(model_from_official(state), epoch=3, name="run"), folder / "epoch_3.pt")
    torch.save({"epoch": 0, "state_dict": OrderedDict(state)}, folder / "pai-clip-commercial-base-en.pt")
    easynlp = folder / "pai-clip-commercial-base-en"
    tiny_tokenizer().save_pretrained(easynlp)
    sizes = {"embed_dim": 32, "vision_layers": 2, "transformer_layers": 1, "transformer_heads": TEXT_HEADS}
    (easynlp / "config.json").write_text(json.dumps({"model_type": "open_clip", **sizes}))
    torch.save({f"open_clip.{name}": tensor for name, tensor in state.items()}, easynlp / "pytorch_model.bin")
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    return folder


def loss_of_the_tree(model: FashionKLIPModel) -> float:
    """Contrastive loss of all training pairs of the tree as one batch, every other picture a wrong answer."""
    layout = KlipLayout.find(TREE)
    pictures = {i: archive[i] for archive in map(NpzImages, layout.train_images) for i in archive.ids}
    pairs = [(caption.query_text, i) for caption in read_captions(layout.train_captions) for i in caption.item_ids]
    tokenizer = tiny_tokenizer()
    processor = FashionKLIPProcessor(FashionKLIPImageProcessor(size=16), tokenizer)
    texts = processor(text=[text for text, _ in pairs], max_length=20, return_tensors="pt")
    pixels = torch.stack([torch.as_tensor(pictures[i]) for _, i in pairs])
    with torch.no_grad():
        images, texts = model.get_image_features(pixels), model.get_text_features(**texts)
        images, texts = (torch.nn.functional.normalize(one, dim=-1) for one in (images, texts))
        logits, labels = model.logit_scale.exp() * images @ texts.T, torch.arange(len(pairs))
        both = [torch.nn.functional.cross_entropy(one, labels).item() for one in (logits, logits.T)]
    assert len(pairs) == 27
    return sum(both) / 2


@pytest.mark.parametrize(
    "name", ["ViT-B-32.pt", "epoch_3.pt", "pai-clip-commercial-base-en.pt", "pai-clip-commercial-base-en"]
)
def test_training_starts_from_an_official_checkpoint(name, checkpoints, tmp_path):
    """Without a step worth the name, the first loss and the saved weights are those of the checkpoint."""
    is_folder = (checkpoints / name).is_dir()
    flags = ["--data_dir", str(TREE), "--clip_checkpoint", str(checkpoints / name), "--concepts", "none", "--cpu"]
    flags += ["--epochs", "1", "--batch_size", "27", "--learning_rate", "1e-12", "--official_false_negatives"]
    flags += [] if is_folder else ["--tokenizer", str(checkpoints / "tokenizer")]  # the folder has its own
    run = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "run"))

    expected = model_from_official(official_state(), text_heads=TEXT_HEADS if is_folder else None)
    assert losses(run) == [pytest.approx(loss_of_the_tree(expected), rel=1e-5)]
    model = FashionKLIPModel.from_pretrained(run / "model")
    assert model.config.text_config.num_attention_heads == (TEXT_HEADS if is_folder else 1)
    torch.testing.assert_close(dict(model.state_dict()), dict(expected.state_dict()), atol=1e-9, rtol=0)
    # The weights take 20 tokens, the tokenizer 77.
    assert FashionKLIPProcessor.from_pretrained(run / "model").max_text_length == 20


def test_a_checkpoint_that_is_not_there_or_not_whole_is_named(checkpoints, tmp_path):
    def message(path) -> str:
        arguments = StartArguments(clip_checkpoint=str(path), tokenizer=str(checkpoints / "tokenizer"))
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            starting_model(arguments, [])
        return str(caught.value)

    assert "nowhere.pt: no such file or folder" in message(tmp_path / "nowhere.pt")
    state = official_state()
    del state["transformer.resblocks.0.attn.out_proj.bias"]
    torch.save({"epoch": 0, "state_dict": state}, tmp_path / "part.pt")
    assert "1 missing: text_model.encoder.layers.0.self_attn.out_proj.bias" in message(tmp_path / "part.pt")
