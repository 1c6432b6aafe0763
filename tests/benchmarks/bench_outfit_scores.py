"""Compatibility of 7,000 outfits within a bank of 15,000 items, and 3,000 blanks, at the published sizes (E = U = 512).

The baseline is the original's way as its specification describes it: one call per item of one outfit, then one softmax over
the whole bank per step. It runs on a sample of the outfits and questions and is scaled.
"""

from __future__ import annotations

import sys
import time

import torch

from tests.benchmarks.measure import report, row, run_child

MODULE = "tests.benchmarks.bench_outfit_scores"
BANK, OUTFITS, QUESTIONS, SIZE = 15_000, 7_000, 3_000, 512
SAMPLE = {"outfits": 40, "questions": 150}


def run() -> list[dict]:
    """Seconds of our way and of one outfit at a time (scaled from the sample)."""
    ours, baseline = (run_child(MODULE, side) for side in ("ours", "baseline"))
    for name in SAMPLE:
        torch.testing.assert_close(
            torch.tensor(ours[f"{name}_scores"]), torch.tensor(baseline[f"{name}_scores"]), rtol=1e-5, atol=1e-5
        )
    memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
    workload = f"{OUTFITS} outfits in a bank of {BANK}, {QUESTIONS} blanks, E = U = {SIZE}"
    sampled = f"; baseline from {SAMPLE['outfits']} + {SAMPLE['questions']}"
    return [row("outfit-scores", workload + sampled, ours["seconds"], baseline["seconds"], "s", memory)]


def problem() -> tuple:
    """Model, bank, outfits (places) and questions (places, blank, answers) of made-up numbers."""
    from modeling.bilstm import BiLSTMConfig, BiLSTMModel

    torch.manual_seed(0)
    config = BiLSTMConfig(variant="bilstm-no-vse", vision_feature_dim=1, embedding_dim=SIZE, hidden_size=SIZE)
    model = BiLSTMModel(config).eval()
    bank = torch.randn(BANK, SIZE) / 4
    lengths = torch.randint(3, 9, (OUTFITS,))
    outfits = [torch.randint(0, BANK, (int(n),)).tolist() for n in lengths]
    questions = []
    for n in torch.randint(2, 8, (QUESTIONS,)).tolist():
        blank = int(torch.randint(1, n + 2, ()))
        questions.append((torch.randint(0, BANK, (n,)).tolist(), blank, torch.randint(0, BANK, (4,)).tolist()))
    return model, bank, outfits, questions


def child(side: str) -> None:
    from train.retrieval.outfit_scores import ItemBank, Question, score_outfits, score_questions

    model, bank, outfits, questions = problem()
    if side == "ours":
        names = [str(place) for place in range(BANK)]
        items = ItemBank(names, items=bank)
        named = [[names[place] for place in outfit] for outfit in outfits]
        asked = [
            Question(tuple(names[p] for p in own), blank, tuple(names[p] for p in answers))
            for own, blank, answers in questions
        ]
        start = time.perf_counter()
        compatible = score_outfits(model, items, named)["both"]
        answered = score_questions(model, items, asked)
        seconds = time.perf_counter() - start
    else:
        with_end = torch.cat([bank, torch.zeros(1, SIZE)])
        seconds, compatible, answered = 0.0, [], []
        start = time.perf_counter()
        compatible = [one_outfit(model, with_end, outfit) for outfit in outfits[: SAMPLE["outfits"]]]
        middle = time.perf_counter()
        answered = [one_question(model, bank, *question) for question in questions[: SAMPLE["questions"]]]
        end = time.perf_counter()
        seconds = (middle - start) * OUTFITS / SAMPLE["outfits"]
        seconds += (end - middle) * QUESTIONS / SAMPLE["questions"]
    scores = {
        "outfits_scores": [float(value) for value in compatible[: SAMPLE["outfits"]]],
        "questions_scores": [list(map(float, line)) for line in answered[: SAMPLE["questions"]]],
    }
    report(seconds=seconds, **scores)


@torch.no_grad()
def predictions(model, bank: torch.Tensor, places: list[int], direction: str) -> list[torch.Tensor]:
    """(1, E) after each item, one call per item."""
    state, found = None, []
    for place in places:
        prediction, state = model.step(bank[place][None], state, direction)
        found.append(prediction)
    return found


@torch.no_grad()
def one_outfit(model, bank: torch.Tensor, outfit: list[int]) -> float:
    """Both directions' mean log-probability of the next item among the bank, whose last row is the end."""
    total = 0.0
    for direction, read in (("forward", outfit), ("backward", outfit[::-1])):
        labels = [*read[1:], len(bank) - 1]
        steps = predictions(model, bank, read, direction)
        chances = [
            (prediction @ bank.T).log_softmax(-1)[0, label] for prediction, label in zip(steps, labels, strict=True)
        ]
        total += float(torch.stack(chances).mean())
    return total


@torch.no_grad()
def one_question(model, bank: torch.Tensor, items: list[int], blank: int, answers: list[int]) -> list[float]:
    """Probabilities of four answers."""
    found = []
    for direction, read in (("forward", items[: blank - 1]), ("backward", items[blank - 1 :][::-1])):
        if read:
            last = predictions(model, bank, read, direction)[-1]
            found.append((bank[answers].double() @ last[0].double()).softmax(-1))
    return torch.stack(found).mean(0).tolist()


if __name__ == "__main__":
    child(sys.argv[1])
