"""What README's first screen and the quick start quote is what their commands print.

Words to the letter, numbers as far as processors agree: bfloat16 is rounded in another order on
another one, so that held-out figures move by a text or two and the best layer to a neighbour.
"""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUOTED = [body for language, body in BLOCKS if language == "text"]

# In points: two texts in a hundred, and one of the thirty.
README_POINTS, PAGE_POINTS = 2.0, 4.0
# Of whole numbers: layers, and points of a forecast.
WHOLE = 3
PROBABILITY = 0.05

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_OF_THE_MACHINE = re.compile(r"[\d.]+(?= (?:s,|min\b|MB\b|GB\b))")
_TIED = re.compile(r"(?<=Layers )[\d–, ]+(?= can't be told apart)")


def commands(first_words: str) -> list[str]:
    lines = "\n".join(body for language, body in BLOCKS if language == "bash").splitlines()
    return [line for line in lines if line.startswith(first_words)]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as it is typed, on a terminal of 80 columns."""
    ended = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended


def unified(text: str) -> str:
    """Without what another machine, or the same at another time, says of itself."""
    return _OF_THE_MACHINE.sub("some", " ".join(text.split()))


def differences(written: str, printed: str, points: float) -> list[str]:
    """What is more than a rounding apart."""
    texts = [_TIED.sub("some", unified(text)) for text in (written, printed)]
    words = [_NUMBER.sub("#", text) for text in texts]
    if words[0] != words[1]:
        return [f"written: {words[0]}\nprinted: {words[1]}"]
    return [
        f"{one} is written, {other} printed"
        for one, other in zip(*map(_NUMBER.findall, texts), strict=True)
        if abs(float(one) - float(other)) > (points if "." in one else WHOLE)
    ]


def test_differences_are_found() -> None:
    written = "frozen, layer 24 73.6 % 70.8 to 76.3\nLayers 22–24, 27 can't be told apart\n46 s, x"
    same = "frozen, layer 23  74.1 % 71.2 to 76.9 Layers 23–24 can't be told apart 99 s, x"
    assert differences(written, same, 2.0) == []
    assert differences(written, same.replace("74.1", "75.7"), 2.0) == [
        "73.6 is written, 75.7 printed"
    ]
    assert differences(written, same.replace("layer 23", "layer 20"), 2.0)
    assert differences(written, same.replace("frozen", "words"), 2.0)
    assert differences(written, same.replace("23–24 can't", "23–24 can"), 2.0)


@pytest.mark.slow
def test_the_readmes_first_screen_is_what_the_command_prints(tmp_path: Path) -> None:
    written = re.search(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    command = re.search(r"That is what `(ntpscore [^`]*)` prints", README)
    assert written is not None
    assert command is not None
    assert differences(written[1], run(command[1], tmp_path).stdout, README_POINTS) == []


@pytest.mark.slow
def test_the_quick_start_says_what_its_commands_print(tmp_path: Path) -> None:
    messages, scored, predicted = QUOTED
    (tmp_path / "messages.csv").write_text(messages, encoding="utf-8")
    (new,) = re.findall(r"three new messages, (.*?):\n", PAGE, re.DOTALL)
    texts = [" ".join(text.split()) for text in re.findall(r"\*([^*]+)\*", new)]
    assert len(texts) == 3
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "new.csv", index=False)

    (score,), (adapt,), (predict,) = (commands(f"ntpscore {c}") for c in ("score", "adapt", "pred"))
    printed = run(score, tmp_path)
    # How the file was read is the same everywhere.
    assert unified(scored).startswith(unified(printed.stderr))
    assert differences(scored, printed.stderr + printed.stdout, PAGE_POINTS) == []

    run(adapt, tmp_path)
    test = json.loads((tmp_path / "results/messages/result.json").read_text("utf-8"))["test"]
    said = re.search(
        r"tests it on nine of the texts \((\d+) were right: ([\d.]+) to ([\d.]+) with 95 %\)", PAGE
    )
    assert said is not None
    right, low, high = map(float, said.groups())
    assert test["n"] == 9
    # One of the nine more or less, and the ends by as much.
    assert test["accuracy"] == pytest.approx(right / 9, abs=1.5 / 9)
    assert test["accuracy_interval"] == pytest.approx([low, high], abs=1.5 / 9)

    found, quoted = (
        pd.read_csv(io.StringIO(text)) for text in (run(predict, tmp_path).stdout, predicted)
    )
    assert list(found.columns) == list(quoted.columns)
    assert found["predicted"].tolist() == quoted["predicted"].tolist()
    numbers = list(quoted.columns[1:])
    assert found[numbers].to_numpy() == pytest.approx(quoted[numbers].to_numpy(), abs=PROBABILITY)
