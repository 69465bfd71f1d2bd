"""Arguments and options that commands share, made from the fields of dataclasses.

    @takes_options
    def score_command(
        model: options.Model,
        data: options.Data,
        text: TextOptions,
        config: Annotated[ScoreConfig, Without("layers")],
        given: Annotated[dict[str, Any], AnyOf(ProbeConfig, LoraConfig)],
        out: Annotated[Path | None, typer.Option(help="…")] = None,
    ) -> None:

offers a flag for every field of the three, and calls the function with a `TextOptions`, a
`ScoreConfig` and a dictionary of those fields of the last two that were typed.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from ntpscore.errors import NtpscoreError

# What is not there is told before anything large is imported.


def check_path(path: Path) -> Path:
    """The path of something that must be there.

    Raises:
        NtpscoreError: it is not.
    """
    if not path.exists():
        raise NtpscoreError(f"there is no file or folder {path}")
    return path


def check_model_named(name: str | None) -> str | None:
    """The name of a model; data in its place, and what is there for both, are told later.

    Raises:
        ModelError: there is no such model.
    """
    from ntpscore.models.locate import check_model_exists
    from ntpscore.text.registry import find_data

    if name is not None and find_data(name) is None:
        check_model_exists(name)
    return name


def check_data_named(name: str | None) -> str | None:
    """The name of data, or of standard input.

    Raises:
        DataError: there is no such data.
    """
    from ntpscore.models.registry import find_model
    from ntpscore.text.open import check_data_exists

    if name not in (None, "-") and find_model(name) is None:
        check_data_exists(name)
    return name


Model = Annotated[
    str,
    typer.Argument(
        help="Folder, .gguf file, short name (see ntpscore models) or hub id.",
        callback=check_model_named,
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        help="File, saved folder, short name (see ntpscore datasets) or hub id.",
        callback=check_data_named,
    ),
]
StudyResults = Annotated[
    Path, typer.Argument(help="A study's folder of results.", callback=check_path)
]
Scores = Annotated[
    bool,
    typer.Option("--scores", help="Print the six scores and the fit by layer, too."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        help="Forecast the LoRA gain by a file of `ntpscore study forecast --out`; "
        "default ntpscore's own study."
    ),
]

RayCluster = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Share the work out to a Ray cluster: HOST:PORT, auto (or nothing) for this machine's "
        "own, local to start one here.",
    ),
]


def with_ray_address(arguments: list[str]) -> list[str]:
    """`--ray` with no address behind it is `--ray auto`, which typer knows no way to say."""
    following = [*arguments[1:], "-"]
    return [
        "--ray=auto" if one == "--ray" and after.startswith("-") else one
        for one, after in zip(arguments, following, strict=True)
    ]


def check_tracker_named(name: str | None) -> str | None:
    """The name of a tracker that is installed.

    Raises:
        NtpscoreError: it is not, or there is none of that name.
    """
    if name is not None:
        from ntpscore.integrations.trackers import check_tracker

        check_tracker(name)
    return name


LogTo = Annotated[
    str | None,
    typer.Option(
        help="Log what was found to mlflow, wandb or tensorboard.", callback=check_tracker_named
    ),
]


class Without:
    """All fields of the class but these."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Only:
    """These fields of the class, in its order."""

    def __init__(self, *names: str) -> None:
        self.names = names


class AnyOf:
    """The fields of several classes, each name once; a dictionary of those that were typed."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds


@dataclass(frozen=True)
class _Group:
    """The options of one parameter of a command."""

    kind: type | None
    fields: dict[str, tuple[type, Field[Any]]]

    def gather(self, typed: dict[str, Any]) -> Any:
        """The parameter's value."""
        given = {}
        for name, (_, field) in self.fields.items():
            value, read = typed[name], field.metadata["read"]
            if value is not None and value != []:
                given[name] = value if read is None else read(value)
        return given if self.kind is None else self.kind(**given)


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every field of the dataclasses that it takes; see above."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, _Group] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for parameter in signature.parameters.values():
        group = _group(parameter.annotation)
        if group is None:
            parameters[parameter.name] = parameter
            continue
        groups[parameter.name] = group
        for flag in _flags(group):
            parameters.setdefault(flag.name, flag)

    @functools.wraps(command)
    def run(**typed: Any) -> None:
        made = {name: group.gather(typed) for name, group in groups.items()}
        own = {name: typed[name] for name in signature.parameters if name not in groups}
        command(**made, **own)

    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters.values()]
    )
    run.__annotations__ = {one.name: one.annotation for one in parameters.values()}
    return run


def _group(annotation: Any) -> _Group | None:
    is_annotated = get_origin(annotation) is Annotated
    kind, *marks = get_args(annotation) if is_annotated else (annotation,)
    for mark in marks:
        if isinstance(mark, AnyOf):
            return _Group(None, {f.name: (k, f) for k in reversed(mark.kinds) for f in _fields(k)})
    if not isinstance(kind, type) or not is_dataclass(kind):
        return None
    chosen: dict[str, tuple[type, Field[Any]]] = {f.name: (kind, f) for f in _fields(kind)}
    for mark in marks:
        if isinstance(mark, Only | Without):
            is_kept = isinstance(mark, Only)
            chosen = {
                n: chosen_field
                for n, chosen_field in chosen.items()
                if (n in mark.names) == is_kept
            }
    return _Group(kind, chosen)


def _fields(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)


def _flags(group: _Group) -> Iterator[inspect.Parameter]:
    """What typer makes a flag of, for each field."""
    for name, (kind, field) in group.fields.items():
        metadata = field.metadata
        typed = metadata["typed"] or get_type_hints(kind)[name]
        if metadata["choices"]:
            optional = type(None) in get_args(typed)
            typed = Literal[tuple(metadata["choices"])]
            typed = typed | None if optional else typed
        default = None if metadata["typed"] is not None or group.kind is None else field.default
        if group.kind is None and default is None:
            typed = typed | None
        flag = metadata["flag"]
        if flag is None and typed in (bool, bool | None):
            flag = "--" + name.replace("_", "-")  # else typer offers --no-… too
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if default is MISSING else default,
            annotation=Annotated[
                typed,
                typer.Option(
                    *([] if flag is None else [flag]),
                    help=metadata["help"],
                    rich_help_panel=metadata["panel"],
                    min=metadata["least"],
                ),
            ],
        )
