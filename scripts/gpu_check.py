"""`make gpu-check`: whether all works on a graphics card, and what it costs there.

Runs its parts one after the other, each in a process of its own with a share of the time, so that
one that fails, hangs or runs out of memory leaves the others alone. What was measured is written as
it comes: `GPU.json` and the table `GPU.md` in the folder `--out`. Nothing is downloaded: the models
have random weights, made from configurations. Without a graphics card the same code runs on the
processor, with small shapes.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Seconds that a part may take, of the 300 of a whole run: what is not used goes to the next. On a
# processor that is most of it, and goes to the tests, which take longest there.
PARTS = {
    "llama-3-8b": 85, "qwen2-0.5b": 45, "sums": 25, "solve": 35, "rates": 25, "tests": 65,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2-0.5b": {
        "kind": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "llama-3-8b": {
        "kind": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
SMALL = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
REPEATS = 5
Step = Callable[[str, Callable[[], Any]], None]
SHUFFLES, CLASSES = 20, 6


def main() -> int:
    """Run all parts, or in a process of its own one of them; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-check")
    parser.add_argument("--seconds", type=float, default=sum(PARTS.values()))
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="none makes the table of what was kept"
    )
    parser.add_argument(
        "--kept", type=Path, default=ROOT / "benchmarks" / "GPU.json", help="of parts not run now"
    )
    parser.add_argument("--part", help="run this one here; for the script itself")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    if options.part:
        _run_part(options.part, options.out, options.seconds)
        return 0
    chosen = [name for name in options.parts.split(",") if name]
    end = time.perf_counter() + options.seconds
    shares = {name: PARTS[name] for name in chosen}
    found: dict[str, Any] = {}
    if options.kept.exists():
        kept = json.loads(options.kept.read_text(encoding="utf-8"))
        found = {name: part for name, part in kept.items() if name not in chosen}
        if chosen:
            found.pop("notes", None)  # of the run that was kept
    for i, name in enumerate(chosen):
        left = end - time.perf_counter()
        share = left * shares[name] / sum(shares[other] for other in chosen[i:])
        print(f"{name}: at most {share:.0f} s", flush=True)
        found[name] = _run_alone(name, options.out, share)
        _write_results(options.out, found)
    _write_results(options.out, found)
    print(make_table(found))
    tests = found.get("tests", {}).get("run", {}) if "tests" in chosen else {}
    failed = any("error" in found[name] for name in chosen)
    return int(failed or tests.get("returncode", 0) != 0)


def _write_results(out: Path, found: dict[str, Any]) -> None:
    _write_json(out / "GPU.json", found)
    (out / "GPU.md").write_text(make_table(found), encoding="utf-8")


def _run_alone(name: str, out: Path, seconds: float) -> dict[str, Any]:
    """A part in its own process; what it had written when it ended, however it ended."""
    file = out / f"{name}.json"
    file.unlink(missing_ok=True)
    command = [
        sys.executable, __file__, "--part", name, "--out", str(out), "--seconds", str(seconds),
    ]  # fmt: skip
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }  # fmt: skip
    start, error = time.perf_counter(), None
    process = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
    try:
        if process.wait(max(1.0, seconds)):
            error = f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        error = f"stopped after {seconds:.0f} s"
        os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        process.wait()
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    file.unlink(missing_ok=True)
    found["seconds"] = time.perf_counter() - start
    if error is not None and "error" not in found:
        found["error"] = error
    return found


def _run_part(name: str, out: Path, seconds: float) -> None:
    """Fill the record of a part; every step is tried by itself, and written when it is done."""
    record: dict[str, Any] = {}
    file = out / f"{name}.json"

    def step(key: str, run: Callable[[], Any]) -> None:
        start = time.perf_counter()
        try:
            record[key] = run()
        except Exception as error:  # noqa: BLE001  # whatever it is stands in the record
            lines = traceback.format_exc().splitlines()
            record.setdefault("traces", {})[key] = "\n".join(lines[-6:])
            record["error"] = f"{key}: {type(error).__name__}: {str(error)[:300]}"
        print(f"  {name} {key}: {time.perf_counter() - start:.1f} s", flush=True)
        _write_json(file, record)

    if name in SHAPES:
        model_part(name, step)
    elif name == "tests":
        tests_part(step, seconds - 10)
    else:
        {"rates": rates_part, "solve": solve_part, "sums": sums_part}[name](step)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


# Measuring
# --------------------------------------------------------------------------------------------------


def device_name() -> str:
    """`cuda` where there is a card, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Until the card has done all it was asked to."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], object]) -> float:
    """Of one call, begun and ended with nothing left to do for the card."""
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def interleaved(
    runs: dict[str, Callable[[], object]], repeats: int = REPEATS
) -> dict[str, list[float]]:
    """Seconds of each of several things, taken in turns after one round that does not count."""
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            found[name].append(seconds_of(run))
    return found


# Parts
# --------------------------------------------------------------------------------------------------


def describe_machine() -> dict[str, Any]:
    """What this runs on."""
    import torch
    import transformers

    found: dict[str, Any] = {
        "device": "processor",
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["device"] = properties.name
        found["memory_gb"] = round(properties.total_memory / 1e9, 1)
        found["capability"] = f"{properties.major}.{properties.minor}"
    return found


def rates_part(step: Step) -> None:
    """Products of n rows of d columns in every number format, in TFLOP/s."""
    step("machine", describe_machine)
    device = device_name()
    small = device == "cpu"
    for d, n in ((128, 256),) if small else ((896, 8192), (4096, 8192), (4096, 32768)):
        step(f"{d}x{n}", partial(_rates, d, n, device))
    if small:
        return

    # NVIDIA's own emulation of float64 by 8-bit products, where the installed library has it.
    def emulated() -> dict[str, float]:
        code = (
            "import sys, json; sys.path[:0] = sys.argv[1:]; import gpu_check as g;"
            "print(json.dumps(g.emulated_float64(4096, 8192)))"
        )
        environment = {
            **os.environ,
            "CUBLAS_EMULATE_DOUBLE_PRECISION": "1",
            "CUBLAS_EMULATION_STRATEGY": "eager",
        }
        ended = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "src")],
            env=environment, capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        if ended.returncode:
            raise RuntimeError(ended.stderr[-300:])
        found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
        return found

    step("float64_emulated_by_cublas", emulated)
    step("float64_by_cublas", lambda: emulated_float64(4096, 8192))


def sums_part(step: Step) -> None:
    """The steps of the sums of one layer and batch."""
    step("machine", describe_machine)
    if device_name() == "cuda":
        for d in (896, 4096):
            step(f"d = {d}, 16384 tokens", partial(_sum_steps, d, 16384))


def emulated_float64(d: int, n: int) -> dict[str, float]:
    """Rate of a float64 product and its error against exact integers below 2^53."""
    import torch

    generator = torch.Generator("cuda").manual_seed(0)
    A = torch.randn(n, d, dtype=torch.float64, device="cuda", generator=generator)
    A *= torch.logspace(0, -6, d, dtype=torch.float64, device="cuda")
    took = interleaved({"mm": lambda: A.T @ A}, 3)["mm"]
    part = A[:, :: max(1, d // 64)]
    found, judge = (part.T @ A).cpu(), (part.cpu().T @ A.cpu())
    scale = part.cpu().norm(dim=0)[:, None] * A.cpu().norm(dim=0)
    return {
        "tflops": 2 * n * d**2 / statistics.median(took) / 1e12,
        "error": float(((found - judge).abs() / scale).max()),
    }


def _rates(d: int, n: int, device: str) -> dict[str, Any]:
    import torch

    generator = torch.Generator(device).manual_seed(0)
    base = torch.randn(n, d, device=device, generator=generator)
    runs: dict[str, Callable[[], object]] = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        rows = base.to(dtype)
        runs[str(dtype).removeprefix("torch.")] = partial(torch.mm, rows.T, rows)
    times = interleaved(runs, 3)
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        times["tf32"] = interleaved({"tf32": lambda: base.T @ base}, 3)["tf32"]
        torch.backends.cuda.matmul.allow_tf32 = False
    digits = torch.randint(-128, 127, (n, d), dtype=torch.int8, device=device)
    columns = digits.T.contiguous()
    # Which of the two factors lies along the rows that are summed over decides the speed.
    layouts = {
        "int8_both_by_token": lambda: torch._int_mm(digits.T, digits),  # noqa: SLF001
        "int8_both_by_column": lambda: torch._int_mm(columns, columns.T),  # noqa: SLF001
        "int8_first_by_column": lambda: torch._int_mm(columns, digits),  # noqa: SLF001
        "int8_second_by_column": lambda: torch._int_mm(digits.T, columns.T),  # noqa: SLF001
    }
    failed = {}
    for name, run in layouts.items():
        try:
            times[name] = interleaved({name: run}, 3)[name]
        except RuntimeError as error:
            failed[name] = str(error)[:200]
    rates = {name: 2 * n * d**2 / statistics.median(took) / 1e12 for name, took in times.items()}
    return {**rates, **failed}


def _sum_steps(d: int, n: int) -> dict[str, Any]:
    """Milliseconds of the steps of the sums of one layer and batch, in float64 and by digits."""
    import torch

    from ntpscore.core import digit_products as digits
    from ntpscore.core import prefix_kernels as kernels
    from ntpscore.core import prefix_products as sums_of

    generator = torch.Generator("cuda").manual_seed(0)
    states = torch.randn(n // 128, 128, d, device="cuda", dtype=torch.bfloat16, generator=generator)
    states[:, 0] *= 30
    lengths = torch.full((n // 128,), 128, device="cuda")
    both = sums_of._pairs(states, lengths)  # noqa: SLF001
    prefix, following = both[:, :d], both[:, d:]
    sums, tokens = sums_of._cut(states, lengths, 0)  # noqa: SLF001
    judges = prefix.T @ prefix, prefix.T @ following
    products = digits.digit_product(sums, sums), digits.digit_product(sums, tokens)
    scales = [prefix.norm(dim=0)[:, None] * one.norm(dim=0) for one in (prefix, following)]
    C = torch.zeros(d, d, dtype=torch.float64, device="cuda")
    half = d // 2

    def halves() -> None:
        C[:half].addmm_(prefix[:, :half].T, prefix)
        C[half:, half:].addmm_(prefix[:, half:].T, prefix[:, half:])

    def quarters() -> None:
        for start in range(0, d, d // 4):
            C[start : start + d // 4, start:].addmm_(
                prefix[:, start : start + d // 4].T, prefix[:, start:]
            )

    C1 = torch.zeros_like(C)

    def whole(precision: Any) -> Callable[[], None]:
        def run() -> None:
            sums_of.prepare_prefix_products(states, lengths, C, C1, precision)()

        return run

    rows, columns = sums.digits.flatten(0, 1), tokens.digits.flatten(0, 1)
    few = rows[: 4 * 1024]
    parts = torch._int_mm(few, columns.T)  # noqa: SLF001
    units = sums.units[:1024]
    times = interleaved({
        "survey": lambda: kernels.survey(states, lengths),
        "totals": lambda: sums_of.prefix_totals(states, lengths),
        "pairs": lambda: sums_of._pairs(states, lengths),  # noqa: SLF001
        "cut into digits": lambda: sums_of._cut(states, lengths, 0),  # noqa: SLF001
        "C0 in float64": lambda: C.addmm_(prefix.T, prefix),
        "C0 in float64, upper half of 2 blocks": halves,
        "C0 in float64, upper half of 4 blocks": quarters,
        "C0 and C1 in float64": lambda: prefix.T @ both,
        "16 products of 1024 columns of digits": lambda: torch._int_mm(few, columns.T),  # noqa: SLF001
        "combine those": lambda: kernels.combine_digits(parts, (4, 4), units, tokens.units),
        "C0 by digits": lambda: digits.digit_product(sums, sums),
        "C1 by digits": lambda: digits.digit_product(sums, tokens),
        **{f"all in {one}": whole(one) for one in _precisions()},
    }, 3)  # fmt: skip
    found: dict[str, Any] = {
        f"{name}, ms": 1e3 * statistics.median(took) for name, took in times.items()
    }
    found["triton"] = digits.HAS_TRITON
    for name, product, judge, scale in zip(("C0", "C1"), products, judges, scales, strict=True):
        found[f"error of {name} by digits"] = float(((product - judge).abs() / scale).max())
    return found


def tests_part(step: Step, seconds: float) -> None:
    """The tests marked `cuda`."""

    def run() -> dict[str, Any]:
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        if device_name() == "cpu":
            environment["NTPSCORE_TEST_DEVICE"] = "cpu"
        command = [
            sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist",
            "-m", "cuda", "tests/test_cuda.py", "--durations=5", "--tb=short", "-W", "default",
        ]  # fmt: skip
        try:
            ended = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, cwd=ROOT, check=False, timeout=seconds,
            )  # fmt: skip
            output, code = ended.stdout, ended.returncode
        except subprocess.TimeoutExpired as stopped:
            output, code = (stopped.stdout or b"").decode(), None
        print(output[-8000:], flush=True)
        lines = output.splitlines()
        ended_with = lines[-1] if lines else "no output"
        return {
            "summary": ended_with if code is not None else f"stopped in {ended_with}",
            "passed": sum(" PASSED" in line for line in lines),
            "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
            "output": [] if code == 0 else lines[-150:],
            "returncode": code,
        }

    step("run", run)


def model_part(name: str, step: Step) -> None:
    """A model's bare pass against the pass with sums, memory, and errors of scores."""
    import torch

    device = device_name()
    small = device == "cpu"
    shape = {**SHAPES[name], **(SMALL if small else {})}
    model: Any = None

    def make() -> dict[str, Any]:
        nonlocal model
        model = random_model(shape, device)
        parameters = sum(p.numel() for p in model.model.parameters())
        found = {"parameters": parameters, "layers": model.n_layers, "width": model.width}
        if not small:
            found["weights_gb"] = torch.cuda.memory_allocated() / 1e9
        return found

    step("machine", describe_machine)
    step("model", make)
    if model is None:
        return
    for tokens in (256,) if small else (16384, 2048):
        step(f"pass of {tokens} tokens", partial(_compare_passes, model, tokens))
    step("errors", lambda: _errors(model, small=small))


def random_model(shape: dict[str, Any], device: str) -> Any:
    """A language model of random weights in bfloat16, without a tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from ntpscore.models import LanguageModel, check_stream

    settings = {key: value for key, value in shape.items() if key != "kind"}
    config = AutoConfig.for_model(
        shape["kind"], **settings, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        loaded = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    loaded.eval().requires_grad_(requires_grad=False)
    model = LanguageModel(
        loaded, None, shape["kind"], None, None, shape["hidden_size"],  # type: ignore[arg-type]
        shape["num_hidden_layers"], torch.bfloat16, torch.device(device), 2048,
    )  # fmt: skip
    if not check_stream(model):
        raise RuntimeError("hidden states can't be streamed")
    return model


def _batch(model: Any, n_texts: int, most: int, seed: int = 0) -> tuple[Any, ...]:
    """Token ids and mask, padded on the right, labels and permutations of them."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.model.config.vocab_size
    ids = torch.randint(3, vocabulary, (n_texts, most), generator=generator)
    lengths = torch.randint(most * 7 // 8, most + 1, (n_texts,), generator=generator)
    lengths[0] = most
    mask = (torch.arange(most) < lengths[:, None]).long()
    labels = torch.randint(CLASSES, (n_texts,), generator=generator)
    permutations = torch.stack(
        [torch.randperm(n_texts, generator=generator) for _ in range(SHUFFLES)]
    )
    return tuple(one.to(model.device) for one in (ids, mask, labels, permutations))


def pass_with_sums(model: Any, moments: list[Any], batch: tuple[Any, ...]) -> None:
    """The pass that `score` makes over a batch: hidden states of all layers into sums."""
    from ntpscore.models import stream_hidden_states
    from ntpscore.reading.consumers import AddMoments

    ids, mask, labels, permutations = batch
    add = AddMoments(moments, labels, permutations)
    part = add.begin(list(range(len(ids))), mask)
    stream_hidden_states(
        model, ids, None, lambda layer, states: add.take(part, layer, states), moments[0].layers
    )
    add.end(part)


def _precisions() -> list[Any]:
    from ntpscore.core.prefix_products import PRECISIONS

    return list(PRECISIONS)


def _compare_passes(model: Any, tokens: int) -> dict[str, Any]:
    """Seconds of the bare pass and of the pass with sums in each precision, in turns."""
    import torch

    from ntpscore import Moments

    most = 64 if tokens < 1000 else 128
    batch = _batch(model, tokens // most, most)
    n_tokens = int(batch[1].sum())
    moments = Moments(model.n_layers + 1, model.width, CLASSES, SHUFFLES, model.device)

    @torch.inference_mode()
    def bare() -> None:
        model.model.base_model(input_ids=batch[0], attention_mask=batch[1], use_cache=False)

    def with_sums(precision: Any) -> Callable[[], None]:
        def run() -> None:
            moments.precision = precision
            pass_with_sums(model, [moments], batch)

        return run

    runs: dict[str, Callable[[], object]] = {"bare": bare}
    runs |= {one: with_sums(one) for one in _precisions()}
    peaks = {}
    for name, run in runs.items():
        run()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            run()
            peaks[name] = torch.cuda.max_memory_allocated() / 1e9
    times = interleaved(runs)
    middle = {name: statistics.median(took) for name, took in times.items()}
    return {
        "tokens": n_tokens,
        **{
            name: {
                "tokens_per_second": n_tokens / middle[name],
                "ratio": middle[name] / middle["bare"],
                "seconds": times[name],
                "peak_gb": peaks.get(name),
            }
            for name in runs
        },
    }


def _errors(model: Any, *, small: bool) -> dict[str, Any]:
    """Scores of a few layers from sums in each precision, against sums in float64."""
    from ntpscore import Moments
    from ntpscore.core.score_names import SCORES
    from ntpscore.core.scores import score_moments

    last = model.n_layers
    layers = [last] if model.width > 2048 else [0, last // 2, last]
    n_texts, most = (256, 16) if small else (3 * model.width, 24 if model.width < 2048 else 16)
    per_batch = 64 if small else 1024
    sums = {
        one: Moments(layers, model.width, CLASSES, 0, model.device, precision=one)
        for one in _precisions()
    }
    for start in range(0, n_texts, per_batch):
        batch = _batch(model, min(per_batch, n_texts - start), most, start)
        pass_with_sums(model, list(sums.values()), (*batch[:3], batch[3][:0]))
    found: dict[str, Any] = {"texts": n_texts, "layers": layers}
    judges: Any = None
    for precision, moments in sums.items():
        start_time = time.perf_counter()
        scores = score_moments(moments).by_layer
        found[f"solve_seconds_{precision}"] = (time.perf_counter() - start_time) / len(layers)
        judges = judges or scores
        found[precision] = [
            {
                name: float((one.values[name] - judge.values[name])[known].abs().max())
                for name in SCORES
                if bool((known := ~judge.basis_dependent[name]).any())
            }
            for one, judge in zip(scores, judges, strict=True)
        ]
    found["condition_C0"] = [one.condition_C0 for one in judges]
    return found


def solve_part(step: Step) -> None:
    """What solving one layer takes on the card and on the processor, and what of LAPACK does."""
    cuda = device_name() == "cuda"
    devices = ["cuda", "cpu"] if cuda else ["cpu"]
    moments = {d: decaying_moments(d) for d in ((896, 4096) if cuda else (64,))}
    # The slowest last, for which time may not suffice.
    for device in devices:
        for d in moments:
            step(f"parts, d = {d}, {device}", partial(_lapack, d, device))
        for d, one in moments.items():
            step(f"layer, d = {d}, {device}", partial(_solve_seconds, one, device))


def decaying_moments(width: int) -> Any:
    """Moments of random hidden states whose directions differ in size, one layer, 20 shuffles."""
    import torch

    from ntpscore import Moments

    device = device_name()
    generator = torch.Generator(device).manual_seed(0)
    moments = Moments(1, width, CLASSES, SHUFFLES, device)
    sizes = torch.logspace(0, -2, width, device=device)
    for _ in range(6):
        n = width // 2
        states = torch.randn(1, n, 5, width, generator=generator, device=device) * sizes
        labels = torch.randint(0, CLASSES, (SHUFFLES + 1, n), generator=generator, device=device)
        moments.update(states, torch.ones(n, 5, device=device), labels[0], labels[1:])
    return moments


def _solve_seconds(moments: Any, device: str) -> dict[str, Any]:
    from ntpscore import Moments
    from ntpscore.core.scores import score_moments

    there = Moments(moments.layers, moments.width, CLASSES, SHUFFLES, device) + moments
    # The first also loads libraries.
    times = [seconds_of(lambda: score_moments(there))]
    if times[0] < 5:
        times.append(seconds_of(lambda: score_moments(there)))
    return {"seconds": min(times), "first": times[0]}


def _lapack(d: int, device: str) -> dict[str, float]:
    import torch

    generator = torch.Generator(device).manual_seed(0)
    X = torch.randn(2 * d, d, dtype=torch.float64, device=device, generator=generator)
    A = X.T @ X
    L = torch.linalg.cholesky(A)
    runs: dict[str, Callable[[], object]] = {
        "product": lambda: A @ A,
        "cholesky": lambda: torch.linalg.cholesky(A),
        "triangular solve": lambda: torch.linalg.solve_triangular(L, A, upper=False),
        "geqrf": lambda: torch.geqrf(A),
        "eigh": lambda: torch.linalg.eigh(A),
    }
    found = {}
    for name, run in runs.items():
        took = seconds_of(run)
        found[name] = took if took > 2 else min(took, seconds_of(run))
    return found


# The table
# --------------------------------------------------------------------------------------------------


def make_table(found: dict[str, Any]) -> str:
    """All that was measured, as Markdown."""
    machine: dict[str, Any] = next(
        (one["machine"] for one in found.values() if "machine" in one), {}
    )
    lines = [
        "# On a graphics card", "",
        "Written by `make gpu-check`; models of random weights in bfloat16.", "",
        ", ".join(f"{key} {value}" for key, value in machine.items()), "",
    ]  # fmt: skip
    lines += [f"{note}\n" for note in found.get("notes", [])]
    lines += [
        f"**{name} was not finished: {part['error']}**\n"
        for name, part in found.items()
        if "error" in part
    ]
    if "tests" in found:
        run = found["tests"].get("run", {})
        lines += ["## Tests", "", f"`{run.get('summary', 'none')}`", ""]
        lines += [f"- {one}" for one in run.get("failed", [])]
    for title, part in (
        ("Sums of a layer and batch", "sums"),
        ("Matrix products (TFLOP/s, or as said)", "rates"),
        ("Solving (seconds)", "solve"),
    ):
        if part in found:
            lines += ["", f"## {title}", "", "| where | what | |", "|---|---|---|"]
            lines += _rows(found[part])
    models = {name: found[name] for name in SHAPES if name in found}
    if models:
        lines += ["", "## Passes", "", *_pass_rows(models), "", "## Errors of scores", "",
                  *_error_rows(models)]  # fmt: skip
    return "\n".join(lines) + "\n"


def _rows(part: dict[str, Any]) -> list[str]:
    return [
        f"| {where} | {what} | {f'{value:.3g}' if isinstance(value, float) else value} |"
        for where, row in part.items()
        if isinstance(row, dict) and where not in ("traces", "machine")
        for what, value in row.items()
    ]


def _pass_rows(models: dict[str, Any]) -> list[str]:
    lines = [
        "| model | tokens in batch | pass | tokens/s | ÷ bare | peak GB |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in models.items():
        for where, one in part.items():
            if where.startswith("pass of"):
                lines += [
                    f"| {name} | {one['tokens']} | {what} | {row['tokens_per_second']:.0f} "
                    f"| {row['ratio']:.2f} | {row.get('peak_gb') or 0.0:.1f} |"
                    for what, row in one.items()
                    if isinstance(row, dict)
                ]
    return lines


def _error_rows(models: dict[str, Any]) -> list[str]:
    lines = ["| model | layer | precision | largest | of |", "|---|---|---|---|---|"]
    for name, part in models.items():
        errors = part.get("errors", {})
        for precision in _precisions():
            rows = errors.get(precision, []) if "layers" in errors else []
            for layer, row in zip(errors.get("layers", []), rows, strict=False):
                worst = max(row, key=lambda score: row[score])
                lines.append(f"| {name} | {layer} | {precision} | {row[worst]:.1e} | {worst} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
