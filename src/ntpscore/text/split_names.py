"""What splits are called, in the names of files and folders and by users."""

import re

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLIT_OF_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}


def split_of_name(name: str) -> str | None:
    """The split that a name such as `train-00000-of-00002` or `reviews_dev` tells."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return next((SPLIT_OF_WORD[word] for word in words if word in SPLIT_OF_WORD), None)


def common_split(split: str) -> str:
    """The usual name of a split: `dev` is `validation`."""
    return SPLIT_OF_WORD.get(split.lower(), split)
