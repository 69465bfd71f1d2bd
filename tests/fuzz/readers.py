"""Everything that reads a file: how a good one is made, and what reads it."""

import gzip
import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from tests.support.adapt_results import make_adapt_result
from tests.support.rankings import make_ranking
from tests.support.score_results import make_moments, make_result
from tests.support.studies import (
    adapted_record,
    made_up_records,
    with_more_of_lora,
    write_records,
    write_study,
)

LONGEST = 3000  # characters of a message, the path included
ENDINGS = ("jsonl", "json", "csv", "tsv", "csv.gz", "xlsx", "parquet")
FRAME = pd.DataFrame({"text": [f"text {i}, “quoted”" for i in range(8)], "label": list("abab") * 2})


@dataclass(frozen=True)
class Reader:
    """A reader of a file or a folder.

    Attributes:
        make: writes a good one into an empty folder and returns its path.
        read: reads it, and shows what was read.
        share: mutants in the quick share of the default suite.
        is_native: its library could end the process, which is then one of its own.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    share: int = 30
    is_native: bool = False


def _table(ending: str, folder: Path) -> Path:
    import datasets

    path, file = folder / f"a.{ending}", io.BytesIO()
    if ending in {"csv", "tsv", "csv.gz"}:
        text = FRAME.to_csv(index=False, sep="\t" if ending == "tsv" else ",").encode()
        file.write(gzip.compress(text) if ending == "csv.gz" else text)
    elif ending == "parquet":
        datasets.Dataset.from_pandas(FRAME).class_encode_column("label").to_parquet(file)
    elif ending == "xlsx":
        FRAME.to_excel(file, index=False)
    else:
        file.write(FRAME.to_json(orient="records", lines=ending == "jsonl").encode())
    path.write_bytes(file.getvalue())
    return path


def _saved(folder: Path) -> Path:
    import datasets

    data = datasets.Dataset.from_pandas(FRAME).class_encode_column("label")
    nested = data.add_column("more", [["x"], []] * 4)
    datasets.DatasetDict({"train": nested, "test": nested}).save_to_disk(folder / "a")
    return folder / "a"


def _read_text(path: Path) -> object:
    from ntpscore.text import describe_reading, load_text

    text = load_text(path)
    assert len(text) == len(text.labels) > 1
    return describe_reading(text), describe_reading(load_text(path, text_column="text"))


def _gguf(folder: Path) -> Path:
    from tests.support.gguf_files import write_tiny_llama

    return write_tiny_llama(folder / "a.gguf")


def _read_gguf(path: Path) -> object:
    from ntpscore.models.gguf_header import read_gguf_header

    return read_gguf_header(path).architecture


def _model(tiny: Path, folder: Path) -> Path:
    return shutil.copytree(tiny, folder / "a")


def _adapter(tiny: Path, folder: Path) -> Path:
    import peft
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny)
    peft.get_peft_model(base, peft.LoraConfig(r=1, target_modules=["q_proj"])).save_pretrained(
        folder / "a"
    )
    return folder / "a"


def _read_model(path: Path) -> object:
    from ntpscore import load_model

    return repr(load_model(path))


def _moments(folder: Path) -> Path:
    make_moments().save(folder / "a.safetensors", {"run": "x"})
    return folder / "a.safetensors"


def _read_moments(path: Path) -> object:
    from ntpscore import Moments
    from ntpscore.core.moments import read_note

    return read_note(path), Moments.load(path).n_texts


def _features(folder: Path) -> Path:
    from safetensors.torch import save_file

    note = {"schema_version": 1, "key": "k", "model": "m", "tokens": "t", "of": 4,
            "texts": [0, 1, 2]}  # fmt: skip
    tensors = {f"{layer} mean": torch.ones(3, 4) for layer in range(2)}
    save_file(tensors, folder / "a.safetensors", {"ntpscore": json.dumps(note)})
    return folder / "a.safetensors"


def _read_features(path: Path) -> object:
    from ntpscore.reading.features import Features

    features = Features.open(path)
    return features.places, [features.get(*place).sum() for place in features.places]


def _head(folder: Path) -> Path:
    from ntpscore.adapt.head import LinearHead
    from ntpscore.adapt.readout import Readout

    weights, intercept = torch.ones(4, 2).double(), torch.zeros(2).double()
    model = {"id": "m", "dtype": "float32", "width": 4, "revision": None, "content_hash": "h",
             "tokenizer_revision": None}  # fmt: skip
    head = LinearHead(1, weights, intercept)
    Readout(
        head, "ridge", "classification", ("a", "b"), None, None, model, {"text": "text"}, None, None
    ).save(folder)
    return folder / "head.safetensors"


def _read_head(path: Path) -> object:
    from ntpscore.adapt.readout import load_readout

    readout = load_readout(path)
    return readout.predict(readout.head.outputs(torch.ones(3, 4)))


def _study(folder: Path) -> Path:
    return write_study(folder, Path("model"), runs='[[runs]]\nmethods = ["score", "lora"]\n')


def _read_study(path: Path) -> object:
    from ntpscore.study.run.plan import load_plan

    return [(cell.name, cell.config(), cell.model_options()) for cell in load_plan(path).cells]


def _cell(folder: Path) -> Path:
    from ntpscore.study.run.cells import cell_path, write_cell
    from ntpscore.study.run.plan import Cell

    cell = Cell("m", "d", "score", 0, {}, "d")
    write_cell(folder, cell, make_result(make_moments()))
    return cell_path(folder, cell)


def _read_cell(path: Path) -> object:
    from ntpscore.study.run.cells import load_records

    return load_records(path.parent.parent)


def _results(folder: Path) -> Path:
    records = with_more_of_lora(made_up_records(5, layers=2, width=20))
    scored = records[0]
    more = {
        "rank": {"rows": [{"metric": "lda", "at": "last", "value": 0.5}], "seconds": 1.0},
        "logistic": adapted_record(0.5, 1.0, converged=0.6),
    }
    records += [{**scored, "method": name, "record": record} for name, record in more.items()]
    failed = {"status": "failed", "error": "it is", "method": "ols"}
    write_records(folder / "a", [*records, {**scored, **failed}])
    return folder / "a"


def _read_results(path: Path) -> None:
    """What every command makes of the cells, and, where there is time, the commands."""
    from ntpscore.errors import NtpscoreError
    from ntpscore.report.study import study_article
    from ntpscore.study.paper.protocol import protocol_limits, protocol_table
    from ntpscore.study.run.cells import load_records
    from ntpscore.study.statistics.forecasts import (
        compare_forecasts,
        forecast_points,
        make_evidence,
    )
    from ntpscore.study.statistics.methods import methods_table
    from ntpscore.study.statistics.rules import chosen_scores, compare_rules
    from ntpscore.study.statistics.tables import StudyTables

    records = load_records(path)
    is_long = bool(os.environ.get("FUZZ_SECONDS"))
    quick: list[Callable[[], object]] = [
        lambda: StudyTables.of(records), lambda: methods_table(records),
        lambda: chosen_scores(records), lambda: protocol_limits(records),
        lambda: make_evidence(forecast_points(records), "a").forecast(0.5),
    ]  # fmt: skip
    long: list[Callable[[], object]] = [
        lambda: protocol_table(records), lambda: compare_rules(records, permutations=2),
        lambda: compare_forecasts(forecast_points(records)), lambda: study_article(path, "a"),
    ]  # fmt: skip
    for read in quick + long * is_long:
        with suppress(NtpscoreError):
            read()


def _calibration(folder: Path) -> Path:
    from ntpscore.forecast.evidence import Evidence

    Evidence.load().save(folder / "a.json")
    return folder / "a.json"


def _read_calibration(path: Path) -> object:
    from ntpscore.forecast.evidence import Evidence

    return Evidence.load(path).forecast(0.5)


def _score(folder: Path) -> Path:
    return make_result(make_moments()).save(folder / "a", keep_moments=True)


def _read_score(path: Path) -> object:
    from ntpscore.cli.tables import print_result
    from ntpscore.progress import PlainConsole
    from ntpscore.scoring.result import load_result

    result = load_result(path)
    print_result(result, path, PlainConsole(file=io.StringIO()), scores=True)
    return result.moments.n_texts, result.table(), result.accuracy, result.advice


def _adapted(folder: Path) -> Path:
    return make_adapt_result().save(folder / "a")


def _read_adapted(path: Path) -> object:
    from ntpscore.adapt.result import load_adapt_result
    from ntpscore.cli.adapt_table import print_adapt_result
    from ntpscore.progress import PlainConsole

    return print_adapt_result(load_adapt_result(path), path, PlainConsole(file=io.StringIO()))


def _ranking(folder: Path) -> Path:
    return make_ranking().save(folder / "a")


def _read_ranking(path: Path) -> object:
    from ntpscore.cli.rank_tables import print_ranking
    from ntpscore.progress import PlainConsole
    from ntpscore.rank.result import load_ranking

    ranking = load_ranking(path)
    print_ranking(ranking, path, PlainConsole(file=io.StringIO()))
    return ranking.standings, ranking.table()


def readers(tiny: Path) -> dict[str, Reader]:
    """All readers by name.

    Args:
        tiny: the folder of a small model.
    """
    return {
        **{
            ending: Reader(partial(_table, ending), _read_text, is_native=ending == "parquet")
            for ending in ENDINGS
        },
        "saved": Reader(_saved, _read_text, is_native=True),
        "gguf": Reader(_gguf, _read_gguf),
        "model": Reader(partial(_model, tiny), _read_model, 6),
        "adapter": Reader(partial(_adapter, tiny), _read_model, 4),
        "moments": Reader(_moments, _read_moments),
        "features": Reader(_features, _read_features),
        "head": Reader(_head, _read_head),
        "score result": Reader(_score, _read_score),
        "adapt result": Reader(_adapted, _read_adapted),
        "ranking": Reader(_ranking, _read_ranking),
        "study": Reader(_study, _read_study),
        "cell": Reader(_cell, _read_cell),
        "results": Reader(_results, _read_results, 12),
        "calibration": Reader(_calibration, _read_calibration),
    }


def read_or_refuse(reader: Reader, path: Path) -> str:
    """Read a mutant: "" if all is well, else what is wrong.

    It may only be refused in a message that can be shown.
    """
    from ntpscore.errors import NtpscoreError

    try:
        reader.read(path)
    except NtpscoreError as error:
        told = str(error)
        if len(told) > LONGEST:
            return f"a message of {len(told)} characters: {told[:200]}"
        if "\x1b" in told or told != told.encode(errors="replace").decode():
            return f"a message that can't be shown: {told!r}"
    except Exception as error:  # noqa: BLE001  # to be told
        import traceback

        return "".join(traceback.format_exception(error)[-6:])
    return ""
