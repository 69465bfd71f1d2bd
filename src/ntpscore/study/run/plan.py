"""What a study runs: a TOML file, read into cells of one model, data set, method and seed each."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ntpscore.adapt.methods import METHODS as FITS
from ntpscore.errors import NtpscoreError, StudyError
from ntpscore.files import expand
from ntpscore.models.options import ModelOptions
from ntpscore.options import option_names
from ntpscore.scoring.config import ScoreConfig
from ntpscore.text import DATA_FILE_ENDINGS
from ntpscore.text.options import SplitOptions

METHODS = ("score", "rank", *FITS)
# What the plan says itself, once for all.
_NOT_OPTIONS = {"seed"}
# Of a score, what those after LoRA take too.
_RESCORING = {"feature_texts", "further_scores", "max_length"}
_TEST_ONLY = {"test_split", "max_test_texts", "test_data"}
_RUN_KEYS = {"methods", "models", "data", "seeds"}
_KEYS = {"models", "data", "data_folder", "sources", "options", "model_options", "data_options",
         "runs"}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One thing to run.

    Attributes:
        model: as in the plan.
        data: as in the plan.
        method: one of `METHODS`.
        seed: of sample, permutations and training.
        options: of model, data and method, by their names on the command line.
        source: what `data` is read from.
    """

    model: str
    data: str
    method: str
    seed: int
    options: Mapping[str, Any]
    source: str

    @property
    def name(self) -> str:
        """`MODEL--DATA/METHOD-SEED`, fit for a path."""
        return cell_name(self.model, self.data, self.method, self.seed)

    def config(self) -> Any:
        """The method's configuration."""
        return self._configured(_config_class(self.method), _config_options(self.method))

    def rescoring(self) -> ScoreConfig | None:
        """How its adapted model is scored; None if it is not."""
        if not self.options.get("rescore"):
            return None
        scoring: ScoreConfig = self._configured(ScoreConfig, _RESCORING)
        return scoring

    def _configured(self, kind: Any, names: AbstractSet[str]) -> Any:
        return kind(**self._given(names), seed=self.seed)

    def model_options(self) -> ModelOptions:
        """How its model is loaded."""
        return ModelOptions(**self._given(option_names(ModelOptions)))

    def data_options(self) -> SplitOptions:
        """How its data is read."""
        return SplitOptions(**self._given(option_names(SplitOptions)))

    def _given(self, names: AbstractSet[str]) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if name in names}


def cell_name(model: str, data: str, method: str, seed: int) -> str:
    """The name of a cell."""
    return f"{_slug(model)}--{_slug(data)}/{method}-{seed}"


@dataclass(frozen=True)
class Plan:
    """A study file.

    Attributes:
        name: the file's name without its ending.
        path: the file.
        cells: in the order in which they are to be run.
    """

    name: str
    path: Path
    cells: tuple[Cell, ...]


def load_plan(path: str | Path, *, data_folder: str | Path | None = None) -> Plan:
    """Read a study file.

    Args:
        path: a TOML file; docs/study.md says what is in it.
        data_folder: data set NAME is read from the file `NAME.jsonl` (or `.csv`, …) here, if there
            is one; in place of the file's own `data_folder`.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StudyError(f"there is no study file {path}") from error
    except OSError as error:
        raise StudyError(f"can't read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise StudyError(f"{path} is no TOML: {error}") from error
    reader = _Reader(path, content)
    if data_folder is None and "data_folder" in content:
        data_folder = path.parent / reader.text(content, "data_folder")
    cells = reader.cells(None if data_folder is None else expand(data_folder))
    return Plan(path.stem, path, cells)


class _Reader:
    """Checks a study file's content and makes cells of it."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path = path
        self._content = content
        self._only(content, _KEYS, "")
        self.models = self._names("models")
        self.data = self._names("data")

    def cells(self, data_folder: Path | None) -> tuple[Cell, ...]:
        sources = self._table("sources", self.data)
        for name in sources:
            self.text(sources, name, "sources.")
        common = self._table("options")
        self._only(common, set[str]().union(*map(_options, METHODS)), "options.")
        of_model = self._option_tables("model_options", self.models, ModelOptions)
        of_data = self._option_tables("data_options", self.data, SplitOptions)
        runs = self._content.get("runs")
        if not isinstance(runs, list) or not runs or not all(isinstance(r, dict) for r in runs):
            raise self._error("it needs at least one table [[runs]]: methods, and their options")
        cells: dict[str, Cell] = {}
        for number, run in enumerate(runs, 1):
            where = f"runs, number {number}: "
            methods = self._methods(run, where)
            own = {key: value for key, value in run.items() if key not in _RUN_KEYS}
            seeds = self._list(run, "seeds", int, where) if "seeds" in run else [0]
            models = self._chosen(run, "models", self.models, where)
            data_sets = self._chosen(run, "data", self.data, where)
            for method, model, data, seed in product(methods, models, data_sets, seeds):
                options = {**common, **of_model.get(model, {}), **of_data.get(data, {}), **own}
                known = _options(method)
                cell = Cell(
                    model=model,
                    data=data,
                    method=method,
                    seed=seed,
                    options={name: options[name] for name in sorted(options) if name in known},
                    source=_find(data, sources.get(data), data_folder),
                )
                if not isinstance(cell.options.get("rescore", False), bool):
                    raise self._error(f"{where}rescore must be true or false")
                try:
                    _ = cell.config(), cell.rescoring(), cell.model_options(), cell.data_options()
                except NtpscoreError as error:
                    raise self._error(f"{where}{method}: {error}") from error
                if cells.setdefault(cell.name, cell) != cell:
                    raise self._error(f"{where}{cell.name} is there already, with other options")
        return tuple(cells.values())

    def _methods(self, run: dict[str, Any], where: str) -> list[str]:
        """The methods of a run, each of which knows all options of the run's own."""
        methods = self._list(run, "methods", str, where)
        for method in methods:
            if method not in METHODS:
                raise self._error(
                    f"{where}there is no method {method!r}: choose from {', '.join(METHODS)}"
                )
            self._only(run, _options(method) | _RUN_KEYS, where, f" for {method}")
        return methods

    def text(self, table: dict[str, Any], key: str, where: str = "") -> str:
        value = table[key]
        if not isinstance(value, str):
            raise self._error(f"{where}{key} must be a text, got {value!r}")
        return value

    def _names(self, key: str) -> list[str]:
        names = self._list(self._content, key, str, "")
        slugs = [_slug(name) for name in names]
        if len(set(slugs)) < len(slugs):
            raise self._error(f"{key} has two names that are the same but for signs")
        return names

    def _chosen(self, run: dict[str, Any], key: str, known: list[str], where: str) -> list[str]:
        if key not in run:
            return known
        names = self._list(run, key, str, where)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise self._error(f"{where}{key} has {unknown[0]!r}, which the file's own {key} lacks")
        return names

    def _list(self, table: dict[str, Any], key: str, kind: type, where: str) -> list[Any]:
        values = table.get(key)
        if (
            not isinstance(values, list)
            or not values
            or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
            or len(set(values)) < len(values)
        ):
            what = {str: "texts", int: "whole numbers"}[kind]
            raise self._error(f"{where}{key} must be a list of {what}, each once, got {values!r}")
        return values

    def _table(self, key: str, known: Sequence[str] | None = None) -> dict[str, Any]:
        table = self._content.get(key, {})
        if not isinstance(table, dict):
            raise self._error(f"{key} must be a table, got {table!r}")
        if known is not None:
            self._only(table, set(known), f"{key}.")
        return table

    def _option_tables(self, key: str, names: list[str], kind: type) -> dict[str, dict[str, Any]]:
        tables = self._table(key, names)
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise self._error(f"{key}.{name} must be a table, got {table!r}")
            self._only(table, option_names(kind), f"{key}.{name}.")
        return tables

    def _only(
        self, table: dict[str, Any], known: AbstractSet[str], where: str, whose: str = ""
    ) -> None:
        unknown = [key for key in table if key not in known]
        if unknown:
            raise self._error(
                f"{where}{unknown[0]} is not known{whose}: choose from {', '.join(sorted(known))}"
            )

    def _error(self, message: str) -> StudyError:
        return StudyError(f"{self._path}: {message}")


def _config_class(method: str) -> Any:
    return FITS[method].config if method in FITS else ScoreConfig


def _config_options(method: str) -> set[str]:
    names = set(option_names(_config_class(method))) - _NOT_OPTIONS
    # A ranking says itself which layers.
    return names - {"layers"} if method == "rank" else names


def _options(method: str) -> AbstractSet[str]:
    """Every option that a method knows."""
    known = option_names(ModelOptions) | option_names(SplitOptions) | _config_options(method)
    if method in FITS:
        return known | {"rescore"} | _RESCORING if method == "lora" else known
    # What is held out must not be scored; which texts are to be tested does not matter.
    return known - _TEST_ONLY


def _find(data: str, source: str | None, folder: Path | None) -> str:
    # A name is one of a file in the folder, never a way out of it.
    if folder is not None and Path(data).name == data:
        for ending in DATA_FILE_ENDINGS:
            if (folder / f"{data}{ending}").is_file():
                return str(folder / f"{data}{ending}")
    return data if source is None else source


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")
