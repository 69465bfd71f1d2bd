"""Damaged copies of files: bytes changed anywhere, and values changed in whatever is JSON."""

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

_HEAD = 8  # bytes in which safetensors tells the length of its header
_BEGINNING = 4096  # where headers are: half of all changes go there
_VALUES = st.sampled_from(
    [None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), "", "\ud800", "\x1b[31m", "../../x",
     "x" * 5000, [], {}, [[]], {"": None}, [1, "a", None]]
)  # fmt: skip
_LITERALS = st.sampled_from(
    ["", "nan", '""', "[]", "{}", "-1", "9" * 400, "true", '"\\ud800"', "="]
)


def mutate(content: bytes, ending: str, data: st.DataObject) -> bytes:
    """A mutant of a file's content."""
    if ending == ".safetensors" and data.draw(st.booleans()):
        size = int.from_bytes(content[:_HEAD], "little")
        header = json.loads(content[_HEAD : _HEAD + size])
        changed = json.dumps(_change(header, data)).encode()
        return len(changed).to_bytes(_HEAD, "little") + changed + content[_HEAD + size :]
    if ending == ".json" and data.draw(st.booleans()):
        return json.dumps(_change(json.loads(content), data)).encode()
    if ending == ".toml" and data.draw(st.booleans()):
        values = list(re.finditer(rb"(?<== ).*", content))
        place = data.draw(st.sampled_from(values))
        return content[: place.start()] + data.draw(_LITERALS).encode() + content[place.end() :]
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        most = len(changed) if data.draw(st.booleans()) else min(_BEGINNING, len(changed))
        place, length = data.draw(st.integers(0, most)), data.draw(st.integers(0, 12))
        changed[place : place + length] = data.draw(st.binary(max_size=12))
    return bytes(changed[: data.draw(st.integers(0, len(changed)))]) if data.draw(
        st.integers(0, 9)
    ) == 0 else bytes(changed)  # fmt: skip


def _change(value: Any, data: st.DataObject) -> Any:
    """JSON with a value somewhere in it replaced or left out."""
    inner = value
    if isinstance(value, str) and value[:1] in ("{", "["):  # JSON within JSON
        try:
            inner = json.loads(value)
        except ValueError:
            return data.draw(_VALUES)
        return json.dumps(_change(inner, data))
    if not isinstance(value, dict | list) or not value or data.draw(st.integers(0, 19)) == 0:
        return data.draw(_VALUES)
    keys = sorted(value) if isinstance(value, dict) else range(len(value))
    key: Any = data.draw(st.sampled_from(keys))
    copy: Any = value.copy()
    if data.draw(st.integers(0, 9)) == 0:
        del copy[key]
    else:
        copy[key] = _change(value[key], data)
    return copy


def files_of(path: Path) -> list[Path]:
    """The files that make up what a reader reads: itself, or those of the folder."""
    return [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
