"""Outfits with a Bi-LSTM model: make them around some items, fill a blank in one, score them.

    python train/outfits.py generate --model runs/outfits/model --data_dir data/polyvore \\
        --images 131138376_1 131138376_3 --text blue --output_dir runs/looks
    python train/outfits.py complete --model runs/outfits/model --data_dir data/polyvore \\
        --outfit dress.jpg bag.jpg --blank_position 2 --output_dir runs/shoes
    python train/outfits.py score --model runs/outfits/model --data_dir data/polyvore \\
        --outfit dress.jpg shoes.jpg bag.jpg --output_dir runs/scores

Items come from a split of --data_dir: the Polyvore layouts, or an own catalogue (--dataset catalogue; see
data_scripts/catalogue.py). Pictures that are given are photo files or ids of items.

generate   the best outfits around the given items, in any order, with a beam search (train/retrieval/outfit_search.py);
           --queries reads a file [{"image_query": [ids], "text_query": words}, ...], all of it. --official_generation
           is the published greedy algorithm instead, with its repeats; where it would crash, that is the result.
           An outfit has one item of a slot. Slots are those of --slots, or else groups of categories that training
           outfits hardly ever have together (train/retrieval/outfit_slots.py).
complete   the items that fit best into the blank of an outfit, with their probabilities.
score      how compatible each of one or more outfits is, beside the outfits of the data.

--output_dir gets results.json and a picture of every outfit. Scores are mean log-probabilities, forward plus backward,
among the distinct products of the split: higher is better. The last line on standard output is one JSON object.
"""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program

COMPARED = 1000  # outfits of the data that a score is compared with, at most


@dataclasses.dataclass
class BankArguments:
    """Which model, and the items to choose from."""

    model: str = argument(help="folder or Hub id of a Bi-LSTM model with recurrent networks")
    data_dir: str = argument(help="folder with the data set's tree (see data_scripts/<dataset>.py)")
    output_dir: str = argument(help="folder for results.json and the pictures; must be empty or new unless --overwrite")
    dataset: Literal["polyvore", "polyvore_outfits", "catalogue"] = argument("polyvore", "layout of --data_dir")
    disjoint: bool = argument(False, "polyvore_outfits: the disjoint variant")
    split: str | None = argument(None, "whose items; default: test, and all of a catalogue")
    category_column: str = argument("category", "catalogue: column with the kind of a product")
    missing: Literal["error", "skip"] = argument("error", "missing photos: stop, or leave out what needs them")
    feature_cache: str | None = argument(
        None, "folder for the image network's features, which later calls read; default: <output_dir>/cache"
    )
    feature_batch: int = argument(64, "pictures per pass of the image network", minimum=1)
    block: int = argument(4096, "items per block of scores; bounds the memory", minimum=1)
    revision: str | None = argument(None, "branch, tag or commit of a model on the Hub")
    trust_remote_code: bool = argument(False, "run the code in the model's folder, for types of other projects")
    overwrite: bool = argument(False, "replace the results of an earlier call in --output_dir")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")


@dataclasses.dataclass
class ChoiceArguments:
    """Which items may be chosen."""

    categories: list[str] = argument([], "choose items of these categories only")
    slots: str | None = argument(
        None,
        'JSON file {"shoes": ["Boots", "Sandals"], ...}: categories of which an outfit has one item together; default: '
        "those that training outfits hardly ever have together",
    )
    category_slots: bool = argument(False, "one item of every category, whatever the training outfits have")
    same_category: bool = argument(False, "let an outfit have several items of one category")


@dataclasses.dataclass
class GenerateArguments(ChoiceArguments):
    """What to make outfits around, and how."""

    images: list[str] = argument([], "ids of items that the outfit has")
    photos: list[str] = argument([], "own photo files of items that the outfit has")
    text: str | None = argument(None, "words that the other items should be near to")
    queries: str | None = argument(None, "JSON file of queries, in place of --images, --photos and --text")
    official_generation: bool = argument(False, "the original's greedy algorithm; takes --images, --text or --queries")
    alternatives: int = argument(1, "outfits per query", minimum=1)
    max_items: int = argument(8, "most items of an outfit, the given ones included", minimum=1)
    min_items: int = argument(3, "fewest items of an outfit", minimum=1)
    end_probability: float = argument(
        0.1, "an end of an outfit grows no further from this probability of the end on", minimum=0, maximum=1
    )
    text_weight: float = argument(2.0, "how much the text counts beside the outfit's compatibility", minimum=0)
    beam: int = argument(8, "outfits kept at each step of the search", minimum=1)
    candidates: int = argument(8, "items tried at each place of each", minimum=1)

    def __post_init__(self) -> None:
        alone = self.images or self.photos or self.text
        if self.queries and alone:
            raise ValueError("--queries FILE replaces --images, --photos and --text; give one or the other")
        if not self.queries and not self.images and not self.photos:
            raise ValueError("an outfit is made around a picture: give --images ID, --photos FILE or --queries FILE")
        rules = self.categories or self.slots or self.category_slots
        if self.official_generation and (self.photos or rules):
            raise ValueError(
                "--official_generation knows items of the data and no rules: leave out --photos, --categories, --slots "
                "and --category_slots"
            )
        if self.min_items > self.max_items:
            raise ValueError(f"--min_items {self.min_items} is above --max_items {self.max_items}")


@dataclasses.dataclass
class CompleteArguments(ChoiceArguments):
    """Which outfit has a blank, and where."""

    outfit: list[str] = argument([], "the other items in their order: photo files or ids of items")
    blank_position: int | None = argument(None, "place of the blank in the whole outfit, from 1", minimum=1)
    top_k: int = argument(8, "answers", minimum=1)

    def __post_init__(self) -> None:
        if not self.outfit:
            raise ValueError("nothing to complete: give the other items with --outfit FILE_OR_ID ...")
        if self.blank_position is None:
            raise ValueError(f"where is the blank? Give --blank_position, 1 to {len(self.outfit) + 1}")
        if self.blank_position > len(self.outfit) + 1:
            raise ValueError(
                f"--blank_position {self.blank_position}: the whole outfit has {len(self.outfit) + 1} places"
            )


@dataclasses.dataclass
class ScoreArguments:
    """Which outfits to score."""

    outfit: list[str] = argument([], "the items of one outfit in their order: photo files or ids of items")
    outfits: str | None = argument(
        None, "JSON file with several outfits, each a list of photo files (relative to it) or ids"
    )

    def __post_init__(self) -> None:
        if bool(self.outfit) == bool(self.outfits):
            raise ValueError("give the items of one outfit with --outfit, or several outfits with --outfits FILE")


@dataclasses.dataclass
class Query:
    """Items that an outfit is made around, and words; `name` is what messages call it."""

    images: list[str]
    photos: list[str]
    text: str
    name: str


def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "generate": (GenerateArguments, generate),
        "complete": (CompleteArguments, complete),
        "score": (ScoreArguments, score),
    }
    if argv and argv[0] in ("-h", "--help"):
        print(__doc__)
        return
    if not argv or argv[0] not in commands:
        given = f"not {argv[0]!r}" if argv else "nothing was given"
        print(
            f"outfits: the first word must be `generate`, `complete` or `score`, {given}; see --help", file=sys.stderr
        )
        sys.exit(2)
    arguments_type, command = commands[argv[0]]
    bank_arguments, arguments = parse_arguments(BankArguments, arguments_type, description=__doc__, argv=argv[1:])
    report = command(bank_arguments, arguments)
    print(json.dumps(report, ensure_ascii=False))


# The three commands. Each returns what stands in the last line of output.


def generate(where: BankArguments, arguments: GenerateArguments) -> dict[str, Any]:
    queries = read_queries(arguments)
    bank = open_bank(where, any(query.text for query in queries))
    groups = {} if arguments.official_generation else find_slots(bank, where, arguments)
    choice_rules(bank, arguments, groups)  # wrong rules are found before the first query
    results = []
    for number, query in enumerate(queries, 1):
        try:
            places = [bank.place(name, "--images") for name in query.images] + bank.add_photos(query.photos)
            if not arguments.official_generation:
                check_products(bank, places, arguments.max_items)
        except (ValueError, OSError) as error:
            raise type(error)(f"{query.name}: {error}" if query.name else str(error)) from error
        words, unknown = known_words(bank, query.text, arguments.official_generation)
        asked = {"query": query.images + query.photos, "text": query.text, "unknown_words": unknown}
        if unknown:
            print(f"{query.name or 'text'}: words that the model does not know: {', '.join(unknown)}")
        if query.text and not words:
            effect = "the original then takes the first item everywhere" if words is not None else "it changes nothing"
            print(f"{query.name or 'text'}: the text has no word that the model knows; {effect}")
        made = official(bank, places, words, where) if arguments.official_generation else None
        if isinstance(made, str):
            print(f"{query.name or 'query'}: the original's algorithm fails: {made}")
            results.append(asked | {"error": made})
            continue
        for rank, found in enumerate(made or searched(bank, where, arguments, places, words, groups), 1):
            picture = f"outfit-{number}.png" if arguments.alternatives == 1 else f"outfit-{number}-{rank}.png"
            ids = [bank.data.ids[place] for place in found.pop("places")]
            results.append(asked | {"outfit": ids} | found | {"picture": picture})
            print(f"{picture}: {' '.join(ids)}  {found['score']:.3f}")
            draw(bank, where, results[-1], places)
    failed = sum("error" in result for result in results)
    if failed == len(results):
        raise ValueError(f"the original's algorithm fails on every query; the first: {results[0]['error']}")
    write_results(where, arguments, bank, results, slots=groups)
    return {
        "output_dir": where.output_dir,
        "outfits": len(results) - failed,
        "failed_queries": failed,
        "scores": [round(result["score"], 4) for result in results if "score" in result],
    }


def complete(where: BankArguments, arguments: CompleteArguments) -> dict[str, Any]:
    from train.retrieval.outfit_picture import outfit_picture
    from train.retrieval.outfit_search import rank_for_blank

    bank = open_bank(where)
    places = [bank.find(name, "--outfit") for name in arguments.outfit]
    groups = find_slots(bank, where, arguments)
    rules = choice_rules(bank, arguments, groups)
    products = {bank.data.identities[place] for place in places}
    slots = {rules["slots"][place] for place in places} - {-1} if rules["slots"] else set()
    candidates = [
        place
        for place in bank.bank
        if bank.data.identities[place] not in products
        and (rules["slots"] is None or rules["slots"][place] not in slots)
        and (rules["allowed"] is None or rules["allowed"][place])
    ]
    if not candidates:
        raise ValueError(
            "the rules leave no item for the blank; change --categories or --slots, or add --same_category"
        )
    position = arguments.blank_position
    ranked = rank_for_blank(bank.model, bank.features.items, places, position, candidates, where.block)
    best = ranked[: arguments.top_k]
    answers = []
    for place, probability in best:
        whole = [*places[: position - 1], place, *places[position - 1 :]]
        ((forward, backward),) = bank.scores([whole], where.block)
        answers.append({"id": bank.data.ids[place], "probability": probability, "score": forward + backward})
    tiles = [tile(bank, place, True) for place in places]
    tiles.insert(position - 1, tile(bank, None))
    found = [tile(bank, place, note=f"{100 * probability:.2g} %") for place, probability in best]
    title = f"What fits at place {position}?"
    outfit_picture([("the outfit", tiles), (f"the best of {len(candidates):,} items", found)], title).save(
        Path(where.output_dir) / "outfit-1.png"
    )
    for answer in answers:
        print(f"{100 * answer['probability']:6.2f} %  {answer['id']}")
    result = {"outfit": arguments.outfit, "blank_position": position, "candidates": len(candidates)}
    write_results(where, arguments, bank, [result | {"answers": answers, "picture": "outfit-1.png"}], slots=groups)
    return {"output_dir": where.output_dir, "answers": [answer["id"] for answer in answers]}


def score(where: BankArguments, arguments: ScoreArguments) -> dict[str, Any]:
    outfits = [arguments.outfit] if arguments.outfit else read_outfits(arguments.outfits)
    bank = open_bank(where)
    places = []
    for number, names in enumerate(outfits, 1):
        try:
            places.append([bank.find(name, "--outfit") for name in names])
        except (ValueError, OSError) as error:
            raise type(error)(f"outfit {number}: {error}") from error
    made = [forward + backward for forward, backward in bank.scores(bank.data.outfits[:COMPARED], where.block)]
    results = []
    for number, (names, own, (forward, backward)) in enumerate(
        zip(outfits, places, bank.scores(places, where.block), strict=True), 1
    ):
        found: dict[str, Any] = {"outfit": names, "score": forward + backward, "forward": forward, "backward": backward}
        if made:
            found["better_than_percent"] = 100 * sum(other < forward + backward for other in made) / len(made)
        results.append(found | {"picture": f"outfit-{number}.png"})
        draw(bank, where, results[-1], own, own)
        more = f", better than {found['better_than_percent']:.0f} % of the data's" if made else ""
        print(f"outfit {number}: {found['score']:.3f}{more}")
    write_results(where, arguments, bank, results, compared=len(made))
    return {"output_dir": where.output_dir, "scores": [round(result["score"], 4) for result in results]}


# Reading


def open_bank(where: BankArguments, texts: bool = False) -> Any:
    """Model and items, and an output folder that is ready.

    Args:
        texts: whether words are asked with.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: a model of another system, without recurrent networks, without an image network, or, for `texts`, whose
            word table was never trained.
    """
    import torch

    from train.engine.bilstm_arguments import OutfitData
    from train.engine.outfits import load_outfits
    from train.retrieval.loading import load_model
    from train.retrieval.outfit_bank import OutfitBank, load_catalogue

    folder = Path(where.output_dir)
    if folder.is_file():
        raise FileExistsError(f"--output_dir {folder} is a file; name a folder")
    # The features that a call left which came no further are no reason to stop.
    there = [path.name for path in folder.iterdir() if path.name != "cache"] if folder.is_dir() else []
    if there and not where.overwrite:
        raise FileExistsError(
            f"--output_dir {folder} is not empty (e.g. {there[0]}); pass --overwrite or choose another"
        )
    device = "cuda" if torch.cuda.is_available() and not where.cpu else "cpu"
    model, processor = load_model(where.model, where.revision, where.trust_remote_code, device)
    config = model.config
    if config.model_type != "bilstm":
        raise ValueError(f"{where.model} is a {type(model).__name__}; outfits need a Bi-LSTM (model type bilstm)")
    if not config.has_recurrent:
        raise ValueError(
            f"{where.model} is of the variant {config.variant!r}, which has no recurrent networks to read outfits with; "
            "use a model of the variant bilstm or bilstm-no-vse"
        )
    if config.has_images and config.vision_config is None:
        raise ValueError(
            f"{where.model} has no image network (it reads precomputed features), so it cannot read pictures; use a "
            "model that was trained or converted with one"
        )
    if texts and config.variant != "bilstm":
        raise ValueError(
            f"{where.model} is of the variant {config.variant!r}, whose word table is untrained: it knows no texts; leave "
            "them out, or use a model of the variant bilstm"
        )
    if where.dataset == "catalogue":
        data = load_catalogue(where.data_dir, where.split, where.category_column, where.missing)
    else:
        source = OutfitData(where.data_dir, where.dataset, where.disjoint, missing=where.missing)
        data = load_outfits(source, where.split or "test", config.has_images)
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("results.json", "outfit-*.png"):
        for old in folder.glob(pattern):
            old.unlink()
    cache = Path(where.feature_cache) if where.feature_cache else folder / "cache"
    return OutfitBank(model, processor, data, cache, where.feature_batch)


def read_queries(arguments: GenerateArguments) -> list[Query]:
    """The queries of the command line or of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no list of queries, or one has no picture.
    """
    if not arguments.queries:
        return [Query(arguments.images, arguments.photos, (arguments.text or "").strip(), "")]
    path = Path(arguments.queries)
    content = read_json(path, "--queries")
    queries = []
    for number, entry in enumerate(content if isinstance(content, list) else [content], 1):
        images = entry.get("image_query") if isinstance(entry, dict) else None
        text = entry.get("text_query", "") if isinstance(entry, dict) else None
        if not isinstance(images, list) or not all(isinstance(name, str) for name in images) or not images:
            raise ValueError(
                f'{path}, query {number}: expected {{"image_query": [ids], "text_query": words}} with one picture at '
                f"least, got {json.dumps(entry)[:80]}"
            )
        if not isinstance(text, str):
            raise ValueError(f"{path}, query {number}: expected words in text_query, got {json.dumps(text)[:80]}")
        queries.append(Query(images, [], text.strip(), f"{path.name}, query {number}"))
    if not queries:
        raise ValueError(f"{path}: no queries in it")
    return queries


def read_outfits(name: str) -> list[list[str]]:
    """Outfits of a JSON file: photo files, looked for beside the file first, and ids.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no list of lists of names.
    """
    path, outfits = Path(name), []
    content = read_json(path, "--outfits")
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: expected a list of outfits, each a list of photo files or ids")
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, list) or not entry or not all(isinstance(one, str) and one for one in entry):
            raise ValueError(
                f"{path}, outfit {number}: expected a list of photo files or ids, got {json.dumps(entry)[:80]}"
            )
        outfits.append([str(path.parent / one) if (path.parent / one).is_file() else one for one in entry])
    return outfits


def read_json(path: Path, flag: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{flag} {path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{flag} {path}: not JSON ({error})") from error


def known_words(bank: Any, text: str, official_words: bool) -> tuple[list[int] | None, list[str]]:
    """Numbers of a text's known words, each once, and the unknown words.

    Args:
        official_words: words as they stand, never in lower case, as the original looks them up.

    Returns:
        The numbers are None without a text, and for one without known words unless `official_words`.
    """
    if not text:
        return None, []
    if official_words:
        own, vocabulary = text.split(), set(bank.processor.vocabulary)
        numbers = [number for number, word in enumerate(bank.processor.vocabulary, 1) if word in set(own)]
        return numbers, [word for word in own if word not in vocabulary]
    unknown = bank.processor.unknown_words(text)
    words = [word for word in text.split() if not bank.processor.unknown_words(word)]
    return list(dict.fromkeys(n for word in words for n in bank.processor.encode(word))) or None, unknown


# Making


def find_slots(bank: Any, where: BankArguments, arguments: ChoiceArguments) -> dict[str, list[str]]:
    """Slot -> its categories: those of --slots, or else those that the training outfits show.

    Without training outfits the split's own are asked; without outfits (a catalogue) every category is a slot.

    Raises:
        FileNotFoundError, ValueError: from `read_slots`.
        ValueError: options that contradict each other.
    """
    from train.engine.bilstm_arguments import OutfitData
    from train.engine.outfits import load_outfits
    from train.retrieval.outfit_slots import slots_by_cooccurrence

    given = {"--slots": arguments.slots, "--category_slots": arguments.category_slots}
    chosen = [flag for flag, value in (given | {"--same_category": arguments.same_category}).items() if value]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} contradict each other; give one")
    if arguments.slots:
        return read_slots(bank, arguments)
    if chosen or not any(bank.data.categories) or not bank.data.outfits:
        return {}
    data = bank.data
    if data.split != "train":
        source = OutfitData(where.data_dir, where.dataset, where.disjoint, missing=where.missing)
        with contextlib.suppress(FileNotFoundError):
            data = load_outfits(source, "train", photos=False)
    slots = slots_by_cooccurrence([[data.categories[place] for place in outfit] for outfit in data.outfits])
    if slots:
        print(f"slots of {len(data.outfits):,} {data.split} outfits: {'; '.join(slots)}")
    return slots


def read_slots(bank: Any, arguments: ChoiceArguments) -> dict[str, list[str]]:
    """Slot -> its categories, as --slots has them; categories that no item has are named.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such thing, or no item has any of its categories.
    """
    groups = read_json(Path(arguments.slots), "--slots")
    fits = isinstance(groups, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in groups.values()
    )
    if not fits or not any(groups.values()):
        raise ValueError(f'--slots {arguments.slots}: expected {{"slot": ["category", ...], ...}}')
    named = [name for names in groups.values() for name in names]
    # One file may serve several splits, of which each lacks some categories.
    lost = [name for name in named if name not in bank.data.categories]
    if len(lost) == len(named):
        bank.check_category(lost[0], "--slots")
    if lost:
        print(f"--slots {arguments.slots}: no item has the category {', '.join(lost)}")
    return groups


def choice_rules(bank: Any, arguments: ChoiceArguments, groups: dict[str, list[str]]) -> dict[str, Any]:
    """Slots and allowed items, by place; None where there is no rule."""
    for category in arguments.categories:
        bank.check_category(category, "--categories")
    wanted = set(arguments.categories)
    return {
        "slots": None if arguments.same_category else bank.slots(groups),
        "allowed": [category in wanted for category in bank.data.categories] if wanted else None,
    }


def check_products(bank: Any, places: list[int], most: int) -> None:
    """Raise ValueError for a query with one product twice, or with more items than an outfit may have."""
    if len(places) > most:
        raise ValueError(f"{len(places)} pictures are given and --max_items is {most}; raise it or give fewer")
    seen: dict[int, str] = {}
    for place in places:
        name = bank.data.ids[place]
        if (other := seen.setdefault(bank.data.identities[place], name)) != name or places.count(place) > 1:
            raise ValueError(f"{other} and {name} are one product (the same picture); give it once")


def search_options(where: BankArguments, arguments: GenerateArguments) -> Any:
    from train.retrieval.outfit_search import SearchOptions

    names = ("max_items", "min_items", "beam", "candidates", "end_probability", "text_weight")
    return SearchOptions(block=where.block, **{name: getattr(arguments, name) for name in names})


def searched(
    bank: Any,
    where: BankArguments,
    arguments: GenerateArguments,
    places: list[int],
    words: list[int] | None,
    groups: dict[str, list[str]],
) -> list[dict[str, Any]]:
    """Outfits of the beam search."""
    from train.retrieval.outfit_search import search_outfits, text_nearness

    nearness = None
    if words:
        nearness = text_nearness(bank.model, bank.features.images, bank.bank, words)
    found = search_outfits(
        bank.model,
        bank.features.items,
        places,
        bank.bank,
        bank.data.identities,
        nearness=nearness,
        outfits=arguments.alternatives,
        options=search_options(where, arguments),
        **choice_rules(bank, arguments, groups),
    )
    return [dataclasses.asdict(outfit) for outfit in found]


def official(bank: Any, places: list[int], words: list[int] | None, where: BankArguments) -> list[dict] | str:
    """The original's outfit with its compatibility, or why the original crashes."""
    from train.retrieval.outfit_generation import official_outfit

    features = bank.features
    try:
        made = official_outfit(bank.model, features.items, features.images, places, words)
    except ValueError as error:
        return str(error)
    outfit = made.outfit if made.outfit_text is None else made.outfit_text
    ((forward, backward),) = bank.scores([outfit], where.block)
    return [{"places": outfit, "score": forward + backward, "forward": forward, "backward": backward}]


# Showing


def tile(bank: Any, place: int | None, framed: bool = False, note: str = "") -> Any:
    """How an item is drawn; None for a blank."""
    from train.retrieval.outfit_picture import Tile

    if place is None:
        return Tile(None)
    data = bank.data
    own = place >= bank.count
    caption = Path(data.ids[place]).name if own else data.texts[place] or data.ids[place]
    picture = data.pictures[place] if data.pictures is not None else None
    return Tile(picture, caption, note or ("own photo" if own else data.categories[place]), framed)


def draw(bank: Any, where: BankArguments, result: dict[str, Any], asked: list[int], own: Any = None) -> None:
    """The picture of one outfit. `own`: its places, where they are not its ids."""
    from train.retrieval.outfit_picture import outfit_picture

    places = own or [bank.features.places[name] for name in result["outfit"]]
    title = f"{len(places)} items" if own else f"An outfit around {len(asked)} item{'s' * (len(asked) > 1)}"
    title += f', "{result["text"]}"' if result.get("text") else ""
    note = f"compatibility {result['forward'] + result['backward']:.2f}"
    if "better_than_percent" in result:
        note += f", better than {result['better_than_percent']:.0f} % of the data's own outfits"
    tiles = [tile(bank, place, place in asked and not own) for place in places]
    outfit_picture([("", tiles)], title, note).save(Path(where.output_dir) / result["picture"])


def write_results(where: BankArguments, arguments: Any, bank: Any, results: list[dict[str, Any]], **more: Any) -> None:
    """results.json: what was asked, of which model and data, and what was found."""
    from train.retrieval.loading import describe_model

    content = {
        "command": type(arguments).__name__.removesuffix("Arguments").lower(),
        "model": describe_model(where.model, bank.model),
        "data": {
            "dataset": where.dataset,
            "split": bank.data.split,
            "items": bank.count,
            "products": len(bank.bank),
        },
        "settings": dataclasses.asdict(arguments),
        **more,
        "results": results,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (Path(where.output_dir) / "results.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_program(main)
