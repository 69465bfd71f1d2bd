"""`make bench`: what a score costs, as ratios measured in one run.

Rows are interleaved where they are compared, and medians of `--repeats`. Nothing in the test suite
depends on a time. The table is written to `benchmarks/RESULTS.md`.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from transformers import AutoModel

import ntpscore
from ntpscore import (
    LabelledText,
    LanguageModel,
    Moments,
    ScoreConfig,
    ScoreResult,
    load_model,
    load_text,
)
from ntpscore.allocator import keep_freed_memory
from ntpscore.core.grid import grid_of_k
from ntpscore.core.moments import LayerMoments
from ntpscore.core.scores import map_layers, score_layer
from ntpscore.core.side_by_side import side_by_side
from ntpscore.reading.tokens import plan_batches, tokens_per_batch
from ntpscore.scoring.run import STAGES, score_text

HERE = Path(__file__).parent
MODEL = "smollm2-135m"
BARE_BATCH = 32
# Tokens of the long texts.
LONGEST = 128
UNTIL_SCORES = ("r2", "smallest_first")
WORDS = [
    "the", "a", "cat", "dog", "rain", "sun", "bread", "house", "river", "old", "small",
    "saw", "ran", "then", "with", "of", "to", "in", "on", "and",
]  # fmt: skip


def seconds_of(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call, begun when no thread is busy waiting for more to do."""
    time.sleep(0.2)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def run_bare(folder: Path) -> float:
    """Seconds of the bare pass in a process of its own: what a score leaves behind speeds it up.

    Args:
        folder: of weights, and `ids.json`, the texts' token ids.
    """
    command = [sys.executable, __file__, "--bare", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(ended.stdout.splitlines()[-1])


def print_bare(folder: Path) -> None:
    """The part of `run_bare` that runs in the fresh process: a pass as anyone would write it.

    Length-sorted batches of 32, with attention mask; the second of two, by `transformers` alone, so
    that nothing of ours is in it.
    """
    bare = AutoModel.from_pretrained(folder, dtype="auto").eval()
    ids = sorted(json.loads((folder / "ids.json").read_text(encoding="utf-8")), key=len)

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(ids), BARE_BATCH):
                batch = ids[start : start + BARE_BATCH]
                length = max(map(len, batch))
                input_ids = torch.zeros(len(batch), length, dtype=torch.long)
                mask = torch.zeros_like(input_ids)
                for row, one in enumerate(batch):
                    input_ids[row, : len(one)] = torch.tensor(one)
                    mask[row, : len(one)] = 1
                bare(input_ids=input_ids, attention_mask=mask, use_cache=False)

    run()
    print(seconds_of(run))


def padding(batches: list[list[int]], lengths: list[int]) -> float:
    """The share of positions in batches that hold no token."""
    positions = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths) / positions


def bench_score(
    model: LanguageModel, text: LabelledText, repeats: int
) -> tuple[list[tuple[str, str, str]], dict[str, float], Moments]:
    """The whole run against the bare forward pass."""
    bare, ours, mute = [], [], []
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as weights:
        model.model.save_pretrained(weights)
        ids = json.dumps(model.tokenizer(text.texts)["input_ids"])
        Path(weights, "ids.json").write_text(ids, encoding="utf-8")
        for _ in range(repeats):
            bare.append(run_bare(Path(weights)))
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                result = score_text(model, text, folder=Path(folder), progress=False)
                ours.append(time.perf_counter() - start)
            with tempfile.TemporaryDirectory() as folder:
                config = ScoreConfig(feature_texts=0)
                start = time.perf_counter()
                score_text(model, text, folder=Path(folder), config=config, progress=False)
                mute.append(time.perf_counter() - start)
            for stage in STAGES:
                stages[stage].append(result.record["seconds"][stage])
    took, short, base = map(statistics.median, (ours, mute, bare))
    spread = (
        f"(bare {min(bare):.1f} to {max(bare):.1f} s, score {min(ours):.1f} to {max(ours):.1f} s, "
        f"without accuracies {min(mute):.1f} to {max(mute):.1f} s)"
    )
    rows = [
        ("score ÷ bare forward pass", f"{took / base:.2f}", ""),
        (
            "the same without held-out accuracies (`--feature-texts 0`)",
            f"{short / base:.2f}",
            "≤ 1.4",
        ),
        ("score ÷ score without held-out accuracies", f"{took / short:.2f}", "≤ 1.10"),
        (spread, "", ""),
    ]
    medians = {stage: statistics.median(values) for stage, values in stages.items()}
    return rows, {**medians, "bare forward pass": base}, result.moments


def bench_accuracies(
    model: LanguageModel, source: Path, n_texts: int, repeats: int
) -> tuple[str, str, str]:
    """What held-out accuracies cost on texts of another length: they go with texts, not tokens."""
    text = load_text(str(source), max_texts=n_texts)
    whole: list[float] = []
    mute: list[float] = []
    tokens = 0
    for _ in range(repeats):
        for kept, seconds in ((ScoreConfig.feature_texts, whole), (0, mute)):
            config = ScoreConfig(max_length=LONGEST, feature_texts=kept)
            start = time.perf_counter()
            tokens = score_text(model, text, config=config, progress=False).moments.n_tokens
            seconds.append(time.perf_counter() - start)
    ratio = statistics.median(whole) / statistics.median(mute)
    name = (
        f"score ÷ score without held-out accuracies, {len(text)} texts of {source.name}, "
        f"{tokens / len(text):.0f} tokens each ({repeats} of each)"
    )
    return name, f"{ratio:.2f}", "≤ 1.10"


def literal_algorithm1(layer: LayerMoments) -> None:
    """Algorithm 1 for the grid of k: two eigenproblems and a pseudo-inverse for each k."""
    import scipy.linalg

    N, M, C0, C1 = (x.numpy() for x in (layer.N, layer.M, layer.C0, layer.C1))
    U = scipy.linalg.eigh(M @ M.T, N)[1][:, ::-1]
    V = scipy.linalg.eigh(C1 @ C1.T, C0)[1][:, ::-1]
    for k in grid_of_k(layer.width):
        projected = V[:, :k] @ (np.linalg.pinv(V[:, :k]) @ U[:, :k])
        np.linalg.norm(projected) ** 2 / np.linalg.norm(U[:, :k]) ** 2


def decaying_moments(width: int, n_shuffles: int, n_layers: int = 1) -> Moments:
    """Moments of random hidden states whose directions differ in size, for timing a solve."""
    generator = torch.Generator().manual_seed(0)
    moments = Moments(n_layers, width, 6, n_shuffles)
    sizes = torch.logspace(0, -2, width)
    for _ in range(6):
        hidden_states = torch.randn(n_layers, width // 4, 5, width, generator=generator) * sizes
        labels = torch.randint(0, 6, (n_shuffles + 1, width // 4), generator=generator)
        shuffled = labels[1:] if n_shuffles else None
        moments.update(hidden_states, torch.ones(width // 4, 5), labels[0], shuffled)
    return moments


def bench_literal(width: int, repeats: int, n_layers: int = 8) -> tuple[str, str, str]:
    """The literal algorithm against the solver on several layers, with controls and theory."""
    moments = decaying_moments(width, 20, n_layers)

    def solve_one(layer: int) -> None:
        one = moments.layer(layer)
        score_layer(one)

    def solve() -> None:
        map_layers(moments, solve_one)

    def solve_literally() -> None:
        for layer in moments.layers:
            literal_algorithm1(moments.layer(layer))

    solve()
    literal_algorithm1(moments.layer(0))
    ours, literal = [], []
    for _ in range(repeats):
        literal.append(seconds_of(solve_literally))
        ours.append(seconds_of(solve))
    ratio = statistics.median(literal) / statistics.median(ours)
    name = (
        f"literal Algorithm 1, 19 k, layer after layer ÷ six scores, all k, controls and theory, d "
        f"= {width}, {n_layers} layers"
    )
    return name, f"{ratio:.1f}", "≥ 5"


def bench_solve(width: int, repeats: int) -> tuple[str, str, str]:
    """One layer's solve against one eigendecomposition of its size, a thread each, as in runs."""
    moments = decaying_moments(width, 20)
    N = moments.layer(0).N
    ours, eigh = [], []

    def alternate(times: int) -> None:
        score_layer(moments.layer(0))
        for _ in range(times):
            ours.append(seconds_of(lambda: score_layer(moments.layer(0))))
            eigh.append(seconds_of(lambda: torch.linalg.eigh(N)))

    list(side_by_side(alternate, [repeats]))
    ratio = statistics.median(ours) / statistics.median(eigh)
    goal = "≤ 3.5" if width >= 2048 else "≤ 5"
    return (
        f"solve of one layer, 20 shuffles ÷ one eigh, one thread each, d = {width}",
        f"{ratio:.1f}",
        goal,
    )


def bench_ranker(
    python: str, model: LanguageModel, text: LabelledText, repeats: int
) -> list[tuple[str, str, str]]:
    """transformer-ranker, in its own environment, against a whole score run, both loaded.

    And against one without held-out accuracies, since it has none.
    """
    theirs, ours, mute = [], [], []
    without = ScoreConfig(feature_texts=0)
    with tempfile.TemporaryDirectory() as folder:
        weights, data = Path(folder, "weights"), Path(folder, "data.json")
        model.model.save_pretrained(weights)
        model.tokenizer.save_pretrained(weights)
        labels = text.labels.tolist()
        data.write_text(json.dumps({"texts": text.texts, "labels": labels}), encoding="utf-8")
        for _ in range(repeats):
            command = [python, str(HERE / "ranker.py"), str(weights), str(data)]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            measured = json.loads(ended.stdout.splitlines()[-1])
            theirs.append(measured["seconds"])
            ours.append(seconds_of(lambda: score_text(model, text, progress=False)))
            mute.append(seconds_of(lambda: score_text(model, text, config=without, progress=False)))
    name = f"transformer-ranker {measured['version']} ÷ score"
    took = statistics.median(theirs)
    return [
        (name, f"{took / statistics.median(ours):.1f}", "≥ 2"),
        (f"{name} without held-out accuracies", f"{took / statistics.median(mute):.1f}", ""),
    ]


def bench_until(model: LanguageModel, data: Path, scores: tuple[str, ...]) -> list[str]:
    """`--until 0.01` against reading all: rows of texts, time, interval, and the value of all."""
    text = load_text(data)
    config = ScoreConfig(max_length=128, shuffles=0)

    def timed(config: ScoreConfig) -> tuple[ScoreResult, float]:
        start = time.perf_counter()
        result = score_text(model, text, config=config, progress=False)
        return result, time.perf_counter() - start

    everything, all_took = timed(config)
    table = everything.table(every_k=True).set_index(["score", "layer", "k"])["value"]
    rows = []
    for score in scores:
        part, part_took = timed(replace(config, until=0.01, until_scores=(score,)))
        until = part.record["until"]
        whole = (
            everything.record["layers"][-1]["r2"]
            if score == "r2"
            else table[score, until["layer"], until["k"]]
        )
        interval, inside = "all were read", "–"
        if until["stopped"]:
            one = until["scores"][score]
            interval = f"{one['low']:.3f} … {one['high']:.3f}"
            inside = "yes" if one["low"] <= whole <= one["high"] else "no"
        rows.append(
            f"| {data.stem} | {score} | {until['n_texts']} of {until['of']} "
            f"| {part_took / all_took:.2f} | {interval} | {whole:.3f} | {inside} |"
        )
    return rows


def made_up_texts(n: int) -> LabelledText:
    """Texts of fifteen common words, all of about the same length."""
    import pandas as pd

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 15)) for _ in range(n)]
    return load_text(pd.DataFrame({"text": texts, "label": rng.integers(0, 4, n)}))


def run_alone(n: int) -> dict[str, float]:
    """Peak memory and tokens per second of a run over n made-up texts, in a fresh process."""
    command = [sys.executable, __file__, "--alone", str(n)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def print_alone(n: int) -> None:
    """The part of `run_alone` that runs in the fresh process."""
    text = made_up_texts(n)
    with tempfile.TemporaryDirectory() as folder:
        result = score_text(load_model(MODEL), text, folder=Path(folder), progress=False)
    record = result.record
    passed = record["seconds"]["forward"] + record["seconds"]["moments"]
    speed = record["data"]["n_tokens"] / passed
    print(json.dumps({"peak": record["peak_memory_bytes"], "tokens_per_second": speed}))


def bench_size(few: int, middle: int, many: int) -> list[tuple[str, str, str]]:
    """Memory and speed must not depend on the number of texts."""
    small, medium, large = run_alone(few), run_alone(middle), run_alone(many)
    memory = large["peak"] / small["peak"]
    speed = large["tokens_per_second"] / medium["tokens_per_second"]
    return [
        (f"peak memory at {many} texts ÷ at {few}", f"{memory:.2f}", "≤ 1.1"),
        (f"tokens per second at {many} texts ÷ at {middle}", f"{speed:.2f}", "≥ 0.95"),
    ]


def matrix_rates() -> dict[str, float]:
    """GFLOP/s of a large matrix product in each number format."""
    rates = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        A = torch.randn(2048, 2048).to(dtype)
        torch.mm(A, A)
        took = statistics.median(seconds_of(partial(torch.mm, A, A)) for _ in range(5))
        rates[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / took / 1e9
    return rates


def work_table(
    model: LanguageModel, moments: Moments, seconds: dict[str, float], rates: dict[str, float]
) -> list[str]:
    """Arithmetic by stage, and the share of the machine's product rate that was reached."""
    tokens, layers, d = moments.n_tokens, len(moments.layers), moments.width
    blocks = sum(p.numel() for p in model.model.base_model.get_submodule("layers").parameters())
    work = {
        "forward": (2.0 * blocks * tokens, str(model.dtype).removeprefix("torch.")),
        # A product of C1 whole and of C0 by its upper half, for every token that has a next one.
        "moments": (3.0 * d**2 * (tokens - moments.n_texts) * layers, "float64"),
    }
    lines = [
        "| stage | seconds | GFLOP | GFLOP/s | of the machine's products |",
        "|---|---|---|---|---|",
    ]
    for stage, took in seconds.items():
        if stage in work:
            flop, dtype = work[stage]
            reached = flop / took / 1e9
            share = reached / rates[dtype]
            lines.append(
                f"| {stage} | {took:.2f} | {flop / 1e9:.0f} | {reached:.0f} "
                f"| {share:.0%} of {dtype} |"
            )
        elif took:
            lines.append(f"| {stage} | {took:.2f} | | | |")
    return lines


def machine() -> str:
    """Processor, cores, memory, matrix units and versions."""
    name, flags = platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = " ".join(f for f in value.split() if f.startswith("amx"))
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{name}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {flags or 'no AMX'}; "
        f"torch {torch.__version__} with {torch.get_num_threads()} threads, "
        f"ntpscore {ntpscore.__version__}"
    )


def estimate_llama3_8b() -> str:
    """Arithmetic for a large model on one H100; nothing of it is measured."""
    parameters, layers, d = 7.0e9, 33, 4096  # without embeddings and vocabulary head
    forward = 2 * parameters / 500e12
    moments = 2 * 2 * d**2 * layers / 45e12
    solve = layers * 12 * d**3 * 8 / 5e12
    return (
        "ESTIMATE, not measured: Llama-3-8B on one H100, at 500 TFLOP/s bfloat16 and 45 TFLOP/s "
        "float64 of sustained products: forward 2 · 7.0e9 / 500e12 = "
        f"{forward * 1e6:.0f} µs per token, moments 4 · d² · 33 / 45e12 = {moments * 1e6:.0f} µs "
        f"per token, together {(forward + moments) / forward:.1f} times the forward pass; solves, "
        f"about 96 d³ per layer at 5 TFLOP/s, {solve:.0f} s once."
    )


def write_results(
    rows: list[tuple[str, str, str]], work: list[str], notes: list[str], path: Path
) -> str:
    """The tables as Markdown, written to a file under a temporary name first."""
    lines = [
        "# Benchmark",
        "",
        *(f"{note}\n" for note in notes),
        "| ratio | measured | goal |",
        "|---|---|---|",
        *(f"| {name} | {value} | {goal} |" for name, value, goal in rows),
        "",
        *work,
    ]
    text = "\n".join(lines) + "\n"
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return text


def parsed_options() -> argparse.Namespace:
    """What stands on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="helpdesk", help="labelled text, as for ntpscore score")
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="*", default=[576, 2048, 4096])
    parser.add_argument("--sizes", type=int, nargs=3, default=[2000, 2000, 20000])
    parser.add_argument("--long", type=Path, help=f"data of long texts, cut at {LONGEST} tokens")
    parser.add_argument("--ranker", help="Python of an environment with transformer-ranker")
    parser.add_argument(
        "--until", type=Path, nargs="*", default=[], help="files to read until scores are known"
    )
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parsed_options()
    keep_freed_memory()  # as the command does
    if options.alone is not None:
        print_alone(options.alone)
        return
    if options.bare:
        print_bare(options.bare)
        return
    rates = matrix_rates()
    model = load_model(MODEL)
    text = load_text(options.data)
    if len(text) > options.texts:
        text = load_text(options.data, max_texts=options.texts)
    rows: list[tuple[str, str, str]] = []

    def keep(*found: tuple[str, str, str]) -> None:
        """Print rows when they are known: the whole takes half an hour."""
        for row in found:
            print(" | ".join(row), flush=True)
        rows.extend(found)

    of_score, seconds, moments = bench_score(model, text, options.repeats)
    keep(*of_score)
    if options.long:
        keep(bench_accuracies(model, options.long, options.texts, min(options.repeats, 2)))
    if options.ranker:
        keep(*bench_ranker(options.ranker, model, text, min(options.repeats, 3)))
    keep(bench_literal(min(options.widths), options.repeats))
    for width in options.widths:
        # A solve of width 4096 takes half a minute.
        keep(bench_solve(width, options.repeats if width < 4096 else min(options.repeats, 3)))
    keep(*bench_size(*options.sizes))
    listed = ", ".join(f"{dtype} {rate:.0f} GFLOP/s" for dtype, rate in rates.items())
    first = (
        f"{MODEL} in {str(model.dtype).removeprefix('torch.')} on {len(text)} texts of "
        f"{Path(options.data).name} ({moments.n_tokens} tokens), all layers, all scores, all k, 20 "
        f"shuffles, checkpointing on; medians of {options.repeats}, interleaved."
    )
    arguments = " ".join(Path(word).name if "/" in word else word for word in sys.argv[1:])
    lengths = [len(ids) for ids in model.tokenizer(text.texts)["input_ids"]]
    by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
    bare = [by_length[i : i + BARE_BATCH] for i in range(0, len(by_length), BARE_BATCH)]
    ours = plan_batches(lengths, tokens_per_batch(ScoreConfig().batch_tokens, model.device))
    passed = seconds["forward"] + seconds["moments"]
    speed = (
        f"{moments.n_tokens / passed:.0f} tokens per second in forward pass and moments; padding: "
        f"{padding(ours, lengths):.1%} of the positions in our batches, "
        f"{padding(bare, lengths):.1%} in those of the bare pass."
    )
    notes = [
        first,
        speed,
        f"Machine: {machine()}.",
        f"Matrix products of 2,048: {listed}.",
        f"Command: `make bench BENCH='{arguments}'`.",
        estimate_llama3_8b(),
    ]
    tables = work_table(model, moments, seconds, rates)
    if options.until:
        tables += [
            "",
            "| data | score | texts read | time ÷ of all | interval | of all | inside |",
            "|---|---|---|---|---|---|---|",
            *(row for path in options.until for row in bench_until(model, path, UNTIL_SCORES)),
        ]
    print(write_results(rows, tables, notes, options.out))


if __name__ == "__main__":
    main()
