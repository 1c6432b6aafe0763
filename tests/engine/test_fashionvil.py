"""FashionViL's training below the programs: tasks of steps, what a task reads, its loss, where a model starts."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from modeling.fashionvil import MODELS, FashionViLForPreTraining, FashionViLImageProcessor
from tests.engine.processes import accelerator_of, relative_difference, run_workers, save
from tests.modeling.fashionvil_examples import (
    SENTENCES,
    pictures,
    task_inputs,
    tiny_config,
    tiny_image_tokenizer,
    tiny_model,
    tiny_processor,
)
from train.engine.fashionvil import (
    TASK_SHARES,
    PretrainingCollate,
    ProductRetrieval,
    ProductRows,
    TaskDraw,
    attribute_targets,
    task_loss,
)
from train.engine.fashionvil_arguments import RETRIEVAL_FIGURES, ViLOptimizer, ViLStart
from train.engine.fashionvil_start import (
    check_attributes,
    make_optimizer,
    make_scheduler,
    starting_head,
    transfer_scale,
    uncropped,
)
from train.engine.image_tokenizer import revive_codes
from train.engine.images import PixelStore
from train.engine.loop import Schedule, fit
from train.engine.patch_masking import PatchMasking
from train.engine.product_views import RandomCrop
from train.engine.products import Products
from train.engine.run import Run, RunArguments
from train.engine.text_masking import MaskedTexts, TextMasking

SHARED_TASKS = ("itc", "mvc", "pac", "mpfc", "mlm")  # itm has its negatives within a process


def joined_batch(task: str) -> dict:
    """Four products; the halves have other numbers of masked pieces, masked cells and products with attributes."""
    batch = task_inputs(task)
    if task in ("itc", "mvc"):
        batch["group"] = torch.tensor([0, 1, 0, 3])  # one product on two processes
    elif task == "pac":
        batch["attribute_targets"] = attribute_targets([[], [3, 5], [0], [1, 2, 3]], 20)
    return batch


def outcome(model: nn.Module, batch: dict, backward) -> dict:
    """Loss and gradients of one step; the mean that the model itself gives is beside them."""
    model.zero_grad()
    output = model(**{name: value for name, value in batch.items() if name != "group"})
    loss = task_loss(output, batch)
    official = task_loss(output, batch, official_process_means=True)
    backward(loss)
    gradients = {name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {
        "loss": loss.detach(),
        "own": output.loss.detach(),
        "official": official.detach(),
        "gradients": {k: g.clone() for k, g in gradients.items()},
    }


def pretraining_model() -> nn.Module:
    torch.manual_seed(0)
    return tiny_model("FashionViLForPreTraining")  # in evaluation mode: no dropout, batch norm as stored


def tokenizer_outcome(model: nn.Module, pixel_values: torch.Tensor, backward) -> dict:
    """Loss and gradients of the image tokenizer, and its codebook after the step and after idle codes moved."""
    inner = getattr(model, "module", model)
    codebook = inner.quantize.embedding
    codebook.cluster_size[:3] = 0  # stay idle: the pictures are few
    output = model.train()(pixel_values)
    backward(output.loss)
    found = {"loss": output.loss.detach(), "codebook": codebook.weight.clone()}
    found["moved"] = revive_codes(inner, {"step": 0, "pixel_values": pixel_values}, after=400, seed=0)
    gradients = {name: parameter.grad for name, parameter in inner.named_parameters()}
    return found | {"revived": codebook.weight.clone(), "gradients": gradients}


def image_tokenizer() -> nn.Module:
    """With codes of which some are far from every picture."""
    torch.manual_seed(0)
    model = tiny_image_tokenizer()
    model.quantize.embedding.weight[:3] += 100
    model.quantize.embedding.embed_avg[:3] += 100
    return model


def work(folder: Path) -> None:
    from accelerate import DistributedDataParallelKwargs

    accelerator = accelerator_of(2)
    accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    model = accelerator.prepare(pretraining_model())
    half = slice(2) if accelerator.process_index == 0 else slice(2, 4)
    whole = ("task", "dropped_text", "dropped_image")
    results = {}
    for task in SHARED_TASKS:
        own = {name: value if name in whole else value[half] for name, value in joined_batch(task).items()}
        results[task] = outcome(model, own, accelerator.backward)
    tokenizer = accelerator.prepare(image_tokenizer())
    results["tokenizer"] = tokenizer_outcome(tokenizer, pictures()[half], accelerator.backward)
    save(accelerator, folder, results)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    return run_workers(__file__, tmp_path_factory.mktemp("tasks"))


@pytest.mark.parametrize("task", SHARED_TASKS)
def test_two_processes_have_the_loss_and_gradients_of_one(task, ranks):
    want = outcome(pretraining_model(), joined_batch(task), torch.Tensor.backward)
    first, second = (rank[task] for rank in ranks)
    assert relative_difference((first["loss"] + second["loss"]) / 2, want["loss"]) < 1e-5
    if task not in ("itc", "mvc"):
        assert all(torch.equal(rank["official"], rank["own"]) for rank in (first, second))
    # The means of the processes alone are something else.
    assert relative_difference((first["own"] + second["own"]) / 2, want["loss"]) > 1e-3
    largest = max(float(gradient.abs().max()) for gradient in want["gradients"].values())
    for name, gradient in want["gradients"].items():
        for found in (first, second):
            assert (found["gradients"][name] - gradient).abs().max() < 1e-5 * largest, name
    moved = {name for name, gradient in want["gradients"].items() if gradient.abs().max() > 1e-3 * largest}
    assert len(moved) > 20


def test_two_processes_have_one_codebook_and_move_the_same_codes(ranks):
    want = tokenizer_outcome(image_tokenizer(), pictures(), torch.Tensor.backward)
    first, second = (rank["tokenizer"] for rank in ranks)
    assert want["moved"] >= 3 and relative_difference((first["loss"] + second["loss"]) / 2, want["loss"]) < 1e-5
    largest = max(float(gradient.abs().max()) for gradient in want["gradients"].values())
    for found in (first, second):
        assert found["moved"] == want["moved"]
        for field in ("codebook", "revived"):
            assert relative_difference(found[field], want[field]) < 1e-5, field
        for name, gradient in want["gradients"].items():
            assert (found["gradients"][name] - gradient).abs().max() < 1e-5 * largest, name


def test_products_of_one_text_are_no_wrong_answers_unless_the_original_is_asked_for():
    output = pretraining_model()(**task_inputs("itc"))
    batch = joined_batch("itc")
    sane, official = (float(task_loss(output, batch, switch).detach()) for switch in (False, True))
    assert official == pytest.approx(float(output.loss.detach()), rel=1e-5)
    # By hand: rows 0 and 2 do not compete.
    logits = output.logits.detach().double()
    logits[0, 2] = logits[2, 0] = -torch.inf
    expected = sum(-part.log_softmax(1).diagonal().mean() for part in (logits, logits.T)) / 2
    assert sane == pytest.approx(float(expected), rel=1e-5) and sane < official


def test_steps_draw_tasks_by_their_shares_and_alike_on_all_processes():
    draw = TaskDraw(TASK_SHARES, seed=5)
    tasks = [draw(step) for step in range(4000)]
    counts = Counter(tasks)
    for task, share in TASK_SHARES.items():
        assert abs(counts[task] / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5, task
    again = TaskDraw(dict(TASK_SHARES), seed=5)
    assert [again(step) for step in reversed(range(50))] == tasks[49::-1]  # no draw rests on one before it
    assert tasks[:50] != [TaskDraw(TASK_SHARES, seed=6)(step) for step in range(50)]
    # Weights need no sum.
    assert [TaskDraw({t: 7 * s for t, s in TASK_SHARES.items()}, 5)(step) for step in range(50)] == tasks[:50]
    assert {TaskDraw({"mlm": 0.1}, 0)(step) for step in range(20)} == {"mlm"}


def test_tasks_must_be_known_and_have_a_share():
    with pytest.raises(ValueError, match="tasks are itm, pac, itc, mvc, mlm, mpfc; got icc"):
        TaskDraw({"itc": 1, "icc": 1}, 0)
    with pytest.raises(ValueError, match="got none"):
        TaskDraw({}, 0)
    with pytest.raises(ValueError, match="must be numbers above 0"):
        TaskDraw({"itc": 1, "mlm": 0}, 0)


def test_attributes_share_one_and_are_of_the_models_vocabulary():
    targets = attribute_targets([[0, 3], [], [1]], 4)
    assert targets.tolist() == [[0.5, 0, 0, 0.5], [0, 0, 0, 0], [0, 1, 0, 0]]
    for number in (4, -1):
        with pytest.raises(ValueError, match=f"pseudo-attribute {number} is outside of the model's 4"):
            attribute_targets([[0], [number]], 4)


PICTURE, CROP = 10, 8


@pytest.fixture
def products() -> Products:
    views = [["0a", "0b", "0c"], ["1a"], ["2a", "2b"], ["3a"]]
    texts = [*SENTENCES[:3], SENTENCES[0]]
    return Products([str(n) for n in range(4)], views, texts, [[] for _ in range(4)], {}, {})


@pytest.fixture
def collate(products):
    """Makes the collator of given tasks, of pictures in which every pixel is another one."""
    ids = [view for own in products.views for view in own]
    pixels = np.random.default_rng(0).integers(0, 256, (len(ids), PICTURE, PICTURE, 3)).astype(np.uint8)
    store = PixelStore(ids, pixels, FashionViLImageProcessor(size=CROP))
    tokenizer = tiny_processor().tokenizer

    def make(task: str, max_length: int = 75, codes=None, seed: int = 0) -> PretrainingCollate:
        texts = MaskedTexts(tokenizer, max_length, TextMasking(tokenizer, 0.5), seed)
        masks, crop = PatchMasking((4, 4), 3, smallest=1), RandomCrop(CROP, 0.5, seed)
        dropped = ((5, 20), (4, 16))
        return PretrainingCollate(TaskDraw({task: 1}, seed), texts, store, crop, masks, codes, 6, dropped, seed)

    return make


def rows_of(products: Products, epoch: int = 0, step: int = 0, seed: int = 0) -> list[dict]:
    rows = ProductRows(products, [[1], [], [2, 3], [5]], seed)
    rows.set_epoch(epoch)
    return [rows[step, row] for row in range(4)]


TEXT = {"task", "pixel_values", "input_ids", "attention_mask"}
FIELDS = {
    "itc": TEXT | {"group"},
    "mvc": TEXT | {"group", "second_pixel_values", "dropped_text", "dropped_image"},
    "mlm": TEXT | {"masked_input_ids", "mlm_labels"},
    "mpfc": TEXT | {"patch_mask"},
    "pac": TEXT | {"attribute_targets"},
    "itm": TEXT | {"group", "replace_text"},
}


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first if name != "task"
    )


@pytest.mark.parametrize("task", TASK_SHARES)
def test_a_batch_has_what_its_task_reads_and_depends_on_seed_epoch_and_row(task, collate, products):
    batch = collate(task)(rows_of(products))
    assert set(batch) == FIELDS[task] and batch["task"] == task
    assert batch["pixel_values"].shape == (4, 3, CROP, CROP)
    assert equal(batch, collate(task)(rows_of(products)))
    assert not equal(batch, collate(task)(rows_of(products, epoch=1)))
    assert not equal(batch, collate(task, seed=1)(rows_of(products, seed=1)))
    # Two processes have the rows of one; what is drawn for a batch is the same for both.
    halves = [collate(task)(rows_of(products)[half]) for half in (slice(2), slice(2, 4))]
    for name, value in batch.items():
        if name.startswith("dropped"):
            assert all(torch.equal(half[name], value) for half in halves)
        elif name != "task":
            widest = max(half[name].shape[-1] for half in halves)
            for half, rows in zip(halves, value.split(2), strict=True):
                cut = rows[..., : half[name].shape[-1]] if rows.ndim == 2 else rows
                assert torch.equal(half[name], cut), name
            assert value.ndim == 1 or widest == value.shape[-1]


def test_texts_are_as_wide_as_the_longest_and_no_wider_than_allowed(collate, products):
    batch = collate("itc")(rows_of(products))
    assert batch["input_ids"].shape[1] == int(batch["attention_mask"].sum(1).max()) > 6
    narrow = collate("mlm", max_length=6)(rows_of(products))
    assert {narrow[name].shape for name in ("input_ids", "masked_input_ids", "mlm_labels")} == {(4, 6)}


def test_equal_texts_are_one_group_and_attributes_are_weights(collate, products):
    assert collate("itc")(rows_of(products))["group"].tolist() == [0, 1, 2, 0]
    targets = collate("pac")(rows_of(products))["attribute_targets"]
    assert targets.tolist() == [[0, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_two_views_are_drawn_apart_and_augmented_apart(collate, products):
    rows = ProductRows(products)
    seen: list[set] = [set() for _ in range(4)]
    for epoch in range(40):
        rows.set_epoch(epoch)
        for row in range(4):
            seen[row].add(tuple(rows[0, row]["views"]))
    assert [len(pairs) for pairs in seen] == [9, 1, 4, 1]  # with replacement
    batch = collate("mvc")(rows_of(products))
    assert not torch.equal(batch["pixel_values"][1], batch["second_pixel_values"][1])  # the only view of its product
    other = collate("mvc")(rows_of(products, step=1))
    assert not torch.equal(other["dropped_text"], batch["dropped_text"])
    assert torch.equal(other["pixel_values"], batch["pixel_values"])


def test_codes_of_the_first_view_and_masks_of_the_grid(collate, products):
    codes = {view: torch.full((16,), place, dtype=torch.int16) for place, view in enumerate(sum(products.views, []))}
    rows = rows_of(products)
    batch = collate("mpfc", codes=codes)(rows)
    assert batch["image_codes"].dtype == torch.int64
    assert batch["image_codes"][:, 0].tolist() == [int(codes[row["views"][0]][0]) for row in rows]
    assert batch["patch_mask"].shape == (4, 16) and batch["patch_mask"].sum(1).eq(3).all()


def test_half_of_the_texts_are_replaced(products, collate):
    make = collate("itm")
    replaced = [make(rows_of(products, epoch))["replace_text"] for epoch in range(100)]
    assert 160 < int(torch.cat(replaced).sum()) < 240


def test_recall_of_products_with_several_pictures():
    """Features that the test chooses: picture 0b of product 0 is nearer to the text of product 1."""
    features = {"0a": [1.0, 0.0], "0b": [0.1, 0.9], "1a": [0.0, 1.0]}
    retrieval = ProductRetrieval.__new__(ProductRetrieval)
    retrieval.products = Products(["0", "1"], [["0a", "0b"], ["1a"]], ["first", "second"], [[], []], {}, {})
    retrieval.ids, retrieval.texts_of_image, retrieval.images_of_text = (
        ["0a", "0b", "1a"],
        [[0], [0], [1]],
        [[0, 1], [2]],
    )
    retrieval.processor = lambda text, **_: {"input_ids": torch.tensor([[t == "first", t == "second"] for t in text])}

    class Pixels:
        def batch(self, ids):
            return torch.tensor([features[i] for i in ids])

    class Model(nn.Module):
        device = torch.device("cpu")

        def get_image_features(self, pixel_values):
            return pixel_values

        def get_text_features(self, input_ids):
            return input_ids.float()

    retrieval.pixels = Pixels()
    figures = retrieval.figures(Model())
    assert set(figures) == set(RETRIEVAL_FIGURES)  # the names that --best_metrics takes
    assert figures["image_to_text_recall_at1"] == pytest.approx(200 / 3) and figures["text_to_image_recall_at1"] == 100
    assert figures["image_to_text_recall_at5"] == 100 and figures["mean_recall"] == pytest.approx(100 - 100 / 18)
    assert {name: hits.shape for name, hits in retrieval.groups.items()} == {
        "image_to_text": (3, 3),
        "text_to_image": (2, 3),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    model = pretraining_model()
    with torch.no_grad():
        model.contrastive_norm.norm_s.fill_(5.5)
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_of_the_same_class_keeps_all_its_weights(saved):
    model, processor = starting_head(FashionViLForPreTraining, ViLStart(model=str(saved)), [], 40)
    assert same(model, FashionViLForPreTraining.from_pretrained(saved))
    assert processor.max_text_length == 40
    assert processor.tokenizer.get_vocab() == tiny_processor().tokenizer.get_vocab()
    # What the configuration was saved with is no setting.
    fields = {"tokenizer_config": model.config.tokenizer_config.to_dict(), "num_codes": 12}
    again, _ = starting_head(FashionViLForPreTraining, ViLStart(model=str(saved)), [], 40, **fields)
    assert same(model, again)


def test_other_settings_of_the_same_class_are_said_and_refused_where_nothing_trains(saved, caplog):
    start = ViLStart(model=str(saved))
    model, _ = starting_head(FashionViLForPreTraining, start, [], 40, num_attributes=9)
    assert "heads and scale begin anew, since num_attributes changed" in caplog.text
    before = FashionViLForPreTraining.from_pretrained(saved)
    assert same(model.model, before.model) and model.heads["pac"].projection.shape[1] == 9
    assert float(model.contrastive_norm.norm_s.detach()) == 4
    with pytest.raises(ValueError, match="has other num_attributes than this data"):
        starting_head(FashionViLForPreTraining, start, [], 40, False, num_attributes=9)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("FashionViLFor")][1:])
def test_another_head_takes_encoder_and_transformer_and_begins_with_its_own_scale(name, saved):
    model, _ = starting_head(MODELS[name], ViLStart(model=str(saved)), [], 40)
    before = FashionViLForPreTraining.from_pretrained(saved)
    if name == "FashionViLForOutfitRetrieval":
        assert same(model.image_encoder, before.model.image_encoder)
    else:
        assert same(model.model, before.model)
    assert type(model) is MODELS[name] and model.config.architectures == [name]
    if hasattr(model, "norm_layer"):
        assert float(model.norm_layer.norm_s.detach()) == 4
        transfer_scale(model, str(saved))
        assert float(model.norm_layer.norm_s.detach()) == 5.5
    else:
        with pytest.raises(ValueError, match="has no scale of features"):
            transfer_scale(model, str(saved))


def test_switches_of_the_start_reach_the_model(saved):
    start = ViLStart(model=str(saved), freeze=["model.bert.embeddings"], train_batch_norm=False)
    model, processor = starting_head(FashionViLForPreTraining, start, [], 40)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name for name in frozen if not name.startswith("image_tokenizer")} == {
        name for name, _ in model.named_parameters() if name.startswith("model.bert.embeddings")
    }
    model.train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(module.training for module in norms)
    assert processor.image_processor.resize == tiny_processor().image_processor.resize


def test_pictures_are_resized_as_asked_and_stored_whole_for_crops(saved):
    kept = tiny_processor().image_processor
    for resize, expected in ((None, kept.resize), (0, 64), (80, 80)):
        start = ViLStart(model=str(saved), resize=resize)
        images = starting_head(FashionViLForPreTraining, start, [], 40)[1].image_processor
        assert (images.size, images.resize) == (64, expected)
        stored = uncropped(images)
        assert (stored.size, stored.resize, stored.image_mean) == (expected, expected, kept.image_mean)


def test_published_backbones_and_their_tokenizer_start_a_model(tmp_path):
    from transformers import BertForPreTraining, ResNetModel

    config = tiny_config()
    vision, bert = ResNetModel(config.vision_config), BertForPreTraining(config.text_config)
    vision.save_pretrained(tmp_path / "vision")
    images = FashionViLImageProcessor(size=64, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    images.save_pretrained(tmp_path / "vision")
    bert.save_pretrained(tmp_path / "bert")
    tiny_processor().tokenizer.save_pretrained(tmp_path / "bert")
    start = ViLStart(vision_weights=str(tmp_path / "vision"), text_weights=str(tmp_path / "bert"))
    model, processor = starting_head(FashionViLForPreTraining, start, [], 40, num_attributes=9)
    assert same(model.model.image_encoder, vision)
    assert torch.equal(model.get_input_embeddings().weight, bert.get_input_embeddings().weight)
    assert torch.equal(model.heads["mlm"].bias, bert.cls.predictions.bias)
    assert processor.image_processor.image_mean == [0.1, 0.2, 0.3] and model.config.num_attributes == 9
    assert processor.tokenizer.get_vocab() == tiny_processor().tokenizer.get_vocab()
    sizes = tmp_path / "sizes.yaml"
    sizes.write_text("text_config: {vocab_size: 10, hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 1}")
    start = ViLStart(vision_weights=str(tmp_path / "vision"), architecture=str(sizes), tokenizer=str(tmp_path / "bert"))
    with pytest.raises(ValueError, match="a table of 10: give the --tokenizer of the --text_weights"):
        starting_head(FashionViLForPreTraining, start, [], 40)


def test_texts_longer_than_the_transformer_reads_are_refused(saved):
    positions = tiny_config().text_config.max_position_embeddings
    start = ViLStart(model=str(saved))
    with pytest.raises(ValueError, match=f"--max_length {positions + 1}: the model has {positions} positions"):
        starting_head(FashionViLForPreTraining, start, [], positions + 1)
    starting_head(FashionViLForPreTraining, start, [], positions)
    starting_head(MODELS["FashionViLForOutfitRetrieval"], start, [], positions + 1)  # it reads no texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--architecture .*sizes.yaml: No such file"),
        ("a: b: c", "--architecture .*sizes.yaml: not a YAML file"),
        ("- a", "--architecture .*sizes.yaml: expected fields of a FashionViL configuration"),
        ("vision_config: {model_type: foo}\ntext_config: {vocab_size: 300}", "--architecture .*sizes.yaml: .*foo"),
    ],
)
def test_a_file_that_is_no_architecture_is_named(content, message, tmp_path):
    if content:
        (tmp_path / "sizes.yaml").write_text(content)
    start = ViLStart(architecture=str(tmp_path / "sizes.yaml"))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        starting_head(FashionViLForPreTraining, start, ["a coat"], 40)


def test_backbones_of_the_other_kind_are_refused_and_pictures_normalised_as_fashionvils(tmp_path, caplog):
    from transformers import BertForPreTraining, ResNetModel

    config = tiny_config()
    vision, text = str(tmp_path / "vision"), str(tmp_path / "bert")
    ResNetModel(config.vision_config).save_pretrained(vision)
    BertForPreTraining(config.text_config).save_pretrained(text)
    tiny_processor().tokenizer.save_pretrained(text)
    with pytest.raises(ValueError, match="--vision_weights .*bert is a BertModel: it reads no pictures"):
        starting_head(FashionViLForPreTraining, ViLStart(vision_weights=text, text_weights=text), [], 40)
    with pytest.raises(ValueError, match="--text_weights .*vision is a resnet model; the transformer is a bert"):
        starting_head(FashionViLForPreTraining, ViLStart(vision_weights=vision, text_weights=vision), [], 40)
    start = ViLStart(vision_weights=vision, text_weights=text)
    images = starting_head(FashionViLForPreTraining, start, [], 40)[1].image_processor
    assert images.image_mean == FashionViLImageProcessor(size=64).image_mean
    assert "has no preprocessor_config.json: pictures are normalised as FashionViL's" in caplog.text


def test_pseudo_attributes_are_checked_before_training(caplog):
    check_attributes([[0, 4], []], 5)
    with pytest.raises(ValueError, match="pseudo-attribute 4 is outside of the model's 4"):
        check_attributes([[0, 4], []], 4)
    assert not caplog.text
    check_attributes([[0, 100_000]], 100_001)
    assert "the products have 2 pseudo-attributes, and the head has 100001" in caplog.text


def rates(steps: int, **arguments) -> list[float]:
    model = nn.ModuleDict({"heads": nn.Linear(2, 2), "pooler": nn.Linear(2, 2)})
    settings = ViLOptimizer(learning_rate=1.0, lr_multiplier=3.0, **arguments)
    optimizer = make_optimizer(model, settings)
    scheduler = make_scheduler(optimizer, settings, steps)
    found = []
    for _ in range(steps):
        pair = sorted({group["lr"] for group in optimizer.param_groups})
        assert pair[1] == pytest.approx(3 * pair[0])
        found.append(pair[0])
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_of_the_learning_rate():
    assert rates(5, schedule="constant") == [1] * 5
    assert rates(4, schedule="constant", warmup=2) == pytest.approx([0.25, 0.625, 1, 1])
    assert rates(6, schedule="multistep", lr_steps=[2, 4]) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = rates(10, schedule="cosine", warmup=2)
    assert cosine[:3] == pytest.approx([0.5, 1, 1]) and sorted(cosine[1:], reverse=True) == cosine[1:]
    assert cosine[6] == pytest.approx(0.5) and 0 < cosine[-1] < 0.05


class Halves(nn.Module):
    """A step uses one of two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.odd = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))


@pytest.mark.parametrize("zeros", [False, True])
def test_what_a_step_does_not_use_stays_or_goes_on_as_before_pytorch_2(zeros, tmp_path):
    model, seen = Halves(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)

    def step(batch):
        seen.append((model.even.item(), model.odd.item()))
        loss = (model.even if len(seen) % 2 else model.odd).square().sum()
        loss.backward()
        return loss.detach()

    with Run(RunArguments(output_dir=str(tmp_path / "run"), cpu=True)) as run:
        schedule = Schedule(1, steps=4, zero_gradients=zeros)
        fit(run, model, optimizer, None, list(range(8)), torch.tensor, 2, step, schedule)
    even, odd = zip(*seen, strict=True)
    assert even[0] == odd[0] == odd[1] == 1 and even[1] < 1 and odd[2] < 1
    # The second step does not use `even`; momentum moves it where its gradient is 0 in place of None.
    assert (even[2] < even[1]) is zeros


if __name__ == "__main__":
    work(Path(sys.argv[1]))
