"""Text of others, shown as text: nothing in it moves the cursor, colours, hides or turns around."""

import re
from typing import Any

# Controls and half surrogate pairs; marks that hide, or change the direction of what follows.
_UNSHOWN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff"
    "\\ud800-\\udfff\\U000e0000-\\U000e0fff]"
)


def plain(text: str, *, keep: str = "", longest: int | None = None) -> str:
    """A text in which what can't be seen is written as an escape.

    Args:
        text: any.
        keep: characters that stay as they are, such as line breaks.
        longest: characters; of a longer text the middle is left out.
    """
    if longest is not None and len(text) > longest:
        end = longest // 5
        text = f"{text[: longest - end - 1]}…{text[-end:]}"
    return _UNSHOWN.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def plain_record(value: Any) -> Any:
    """A copy of a record in which all text is plain, in keys too."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain_record(key): plain_record(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_record(item) for item in value]
    return value
