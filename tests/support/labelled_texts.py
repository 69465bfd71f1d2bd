"""Small labelled data for tests of the whole way."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ntpscore.text import LabelledText, Task, TextSource

WORDS = {
    "animals": ["cat", "dog", "mouse", "horse", "bird", "fish", "hen", "goat"],
    "food": ["bread", "cheese", "apple", "soup", "rice", "cake", "bean", "pear"],
    "weather": ["rain", "snow", "wind", "sun", "cloud", "storm", "fog", "frost"],
}
FILLERS = [
    "the", "a", "was", "near", "my", "old", "very", "small", "and", "then", "we", "saw", "some",
    "more", "of", "it", "today",
]  # fmt: skip


def make_rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows of text, label and split, n for training and n // 4 for testing."""
    rng = random.Random(seed)
    rows = []
    for i in range(n + n // 4):
        label = rng.choice(sorted(WORDS))
        words = [rng.choice(FILLERS) for _ in range(rng.randint(2, 9))]
        words[rng.randrange(len(words))] = rng.choice(WORDS[label])
        rows.append(
            {"text": " ".join(words), "label": label, "split": "train" if i < n else "test"}
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, object]] | list[dict[str, str]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled_text(
    texts: Sequence[str], labels: np.ndarray, task: Task = "classification"
) -> LabelledText:
    """Labelled text from memory: class indices, or one target, which is standardised."""
    source = TextSource("memory", None, "0" * 64, None, "train", len(texts), {}, {}, None)
    if task == "regression":
        values = np.asarray(labels, dtype=np.float64).reshape(len(texts), -1)
        mean, sd = values.mean(0), values.std(0)
        names = tuple(f"target {i}" for i in range(values.shape[1]))
        return LabelledText(
            list(texts), (values - mean) / sd, task, names, tuple(mean), tuple(sd), source
        )
    numbers = np.asarray(labels, dtype=np.int64)
    names = tuple(f"class {i}" for i in range(numbers.max() + 1))
    return LabelledText(list(texts), numbers, task, names, None, None, source)
