"""Writes `cpwer.json`: texts of speakers, and how many word errors meeteval counts in them.

meeteval is compiled during installation, so it is not among the packages that tests need. To record the values again:

    python3 -m venv /tmp/meeteval && /tmp/meeteval/bin/pip install meeteval==0.4.3
    /tmp/meeteval/bin/python tests/evaluation/record_cpwer.py
"""

import json
import random
from pathlib import Path

from meeteval.wer import cp_word_error_rate

WORDS = ["the", "sea", "was", "calm", "this", "morning", "and", "five", "boats", "came", "home"]


def said(chance: random.Random, most: int) -> list[str]:
    return [" ".join(chance.choices(WORDS, k=chance.randint(0, 12))) for _ in range(chance.randint(1, most))]


def heard(chance: random.Random, texts: list[str]) -> list[str]:
    """The texts in another order with some words wrong, and a speaker more or less."""
    found = [
        " ".join(chance.choice(WORDS) if chance.random() < 0.2 else word for word in text.split()) for text in texts
    ]
    chance.shuffle(found)
    return [found + said(chance, 1), found[1:], found][chance.randint(0, 2)]


def main() -> None:
    chance = random.Random(1)
    cases = []
    for number in range(120):
        references = said(chance, 5)
        hypotheses = heard(chance, references) if number % 3 else said(chance, 5)
        texts = (dict(enumerate(each)) for each in (references, hypotheses))
        errors = cp_word_error_rate(*texts, reference_sort=False, hypothesis_sort=False)
        cases.append(
            {"references": references, "hypotheses": hypotheses, "errors": errors.errors, "length": errors.length}
        )
    lines = ",\n".join(json.dumps(case) for case in cases)
    Path(__file__).with_name("cpwer.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
