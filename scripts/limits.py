"""What a run costs at its limits: seconds and peak memory of each, in a process of its own.

Made-up texts, random models and that of the demo, so that nothing is downloaded; each process may
take so many seconds of a processor and no more. The table is written to docs/reliability.md,
between two marks.

Usage: python -m scripts.limits [--only NAME] [--seconds 900] [--no-page]
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scripts.page import ROOT, write_between

MARKS = "<!-- limits -->", "<!-- end of limits -->"
WORDS = [
    "the", "a", "cat", "dog", "rain", "sun", "bread", "house", "river", "old", "small",
    "saw", "ran", "then", "with", "of", "to", "in", "on", "and",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A run at a limit.

    Attributes:
        data: made of a random generator: texts, and their labels.
        width: of the random model.
        layers: its blocks.
        options: of `score`.
        model: a real one in its place.
    """

    data: Callable[[np.random.Generator], tuple[list[str], Any]]
    width: int = 64
    layers: int = 2
    options: tuple[tuple[str, Any], ...] = ()
    model: str | None = None


def _texts(rng: np.random.Generator, n: int, length: int = 4) -> list[str]:
    return [" ".join(rng.choice(WORDS, length)) for _ in range(n)]


def _classes(n: int, classes: int, length: int = 4) -> Callable[[np.random.Generator], Any]:
    """Texts of so many words, each with one of so many classes."""
    return lambda rng: (_texts(rng, n, length), [f"class {i % classes}" for i in range(n)])


def _columns(n: int, columns: int) -> Callable[[np.random.Generator], Any]:
    """Texts with three of so many labels each."""
    names = [f"label {i}" for i in range(columns)]
    return lambda rng: (
        _texts(rng, n),
        [rng.choice(names, 3, replace=False).tolist() for _ in range(n)],
    )


def _one_long(characters: int) -> Callable[[np.random.Generator], Any]:
    """Texts of which one is long."""

    def make(rng: np.random.Generator) -> tuple[list[str], list[str]]:
        texts = _texts(rng, 200)
        return [" ".join(rng.choice(WORDS, characters // 4)), *texts], ["a", *"ab" * 100]

    return make


def _long_labels(characters: int) -> Callable[[np.random.Generator], Any]:
    """Texts whose two labels are long."""
    return lambda rng: (_texts(rng, 200), [letter * characters for letter in "ab" * 100])


_REAL = "smollm2-135m, layers 0 and 30"
CASES = {
    "2,000 texts, width 576, 6 blocks": Case(_classes(2_000, 4), 576, 6),
    "20,000 texts": Case(_classes(20_000, 4), 576, 6),
    **{
        f"{n:,} texts of eight words, {_REAL}": Case(
            _classes(n, 4, 8), options=(("layers", (0, 30)),), model="smollm2-135m"
        )
        for n in (2_000, 20_000)
    },
    "1,000 classes, 5,000 texts": Case(_classes(5_000, 1_000), 576, 2),
    "5,000 label columns, 2,000 texts": Case(_columns(2_000, 5_000), 576, 2),
    "100,000 texts of three words": Case(_classes(100_000, 4, 3)),
    "77 classes, 20 shuffles, width 4,096": Case(
        _classes(1_000, 77), 4_096, 1, (("layers", (1,)),)
    ),
    "a text of 1,000,000 characters": Case(_one_long(1_000_000)),
    "labels of 1 MB": Case(_long_labels(1_000_000)),
}


def make_model(folder: Path, width: int, layers: int) -> Path:
    """A random Llama whose tokenizer knows bytes alone."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator([" ".join(WORDS)] * 10, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run_alone(name: str) -> None:
    """A case in this process: a line of JSON."""
    import torch

    from ntpscore import NtpscoreError, load_model, score
    from ntpscore.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    case = CASES[name]
    data = case.data(np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(case.model or make_model(Path(folder, "model"), case.width, case.layers))
        start, said, seconds = time.monotonic(), "ran", {}
        try:
            result = score(
                model, data, out=Path(folder, "out"), progress=False, skip_sanity_check=True,
                **dict(case.options),
            )  # fmt: skip
            seconds = result.record["seconds"]
        except NtpscoreError as error:
            said = f"refused: {error}"
        took = time.monotonic() - start
    print(json.dumps({"seconds": took, "said": said, "stages": seconds}))


def measure(name: str, limit: int) -> dict[str, Any]:
    """What `run_alone` says of a case, or that it took too long, and what its process used."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.limits", "--alone", name, "--seconds", str(limit)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=told, stderr=told,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        lines = told.read().strip().splitlines()
    found: dict[str, Any] = {"seconds": time.monotonic() - start, "stages": {}}
    if process.returncode == 0:
        found = json.loads(lines[-1])
    elif process.returncode == -signal.SIGXCPU:
        found["said"] = f"not within {limit} seconds of a processor"
    else:
        found["said"] = f"code {process.returncode}: {lines[-1:]}"
    found["processor"] = used.ru_utime + used.ru_stime
    return {**found, "peak": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--seconds", type=int, default=900, help="of a processor, for each case")
    parser.add_argument("--no-page", action="store_true", help="print the table alone")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (options.seconds, options.seconds + 5))
        run_alone(options.alone)
        return
    lines = ["| run of `score` | seconds | of a processor | peak GB | |", "|---|---|---|---|---|"]
    peaks: dict[str, float] = {}
    for name in CASES:
        if options.only not in name:
            continue
        found = measure(name, options.seconds)
        peaks[name] = found["peak"]
        figures = f"{found['seconds']:.0f} | {found['processor']:.0f} | {found['peak'] / 1e9:.2f}"
        lines.append(f"| {name} | {figures} | {found['said'][:300]} |")
        stages = {stage: round(took, 1) for stage, took in found["stages"].items() if took > 0.05}
        print(lines[-1], stages, flush=True)
    few, many, real_few, real_many = list(CASES)[:4]
    for one, other in ((few, many), (real_few, real_many)):
        if {one, other} <= peaks.keys():
            lines.append(f"\nPeak of {other} ÷ of {one}: {peaks[other] / peaks[one]:.2f}.")
            print(lines[-1])
    if not options.no_page and not options.only:
        write_between(ROOT / "docs" / "reliability.md", MARKS, "\n".join(lines))


if __name__ == "__main__":
    main()
