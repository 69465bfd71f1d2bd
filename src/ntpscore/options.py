"""Options as frozen dataclasses: one field is one keyword, one flag and one help text.

A class of options names its fields with `option`; keywords in Python, flags on the command line
(`ntpscore.cli.options`) and the keys of study files are read from them, so that a new option is a
new field and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import field, fields, replace
from difflib import get_close_matches
from typing import Any, TypeVarTuple

from ntpscore.errors import NtpscoreError

_Kinds = TypeVarTuple("_Kinds")


def option(
    default: Any,
    help: str,  # noqa: A002  # typer's word
    *,
    panel: str | None = None,
    flag: str | None = None,
    least: float | None = None,
    choices: tuple[str, ...] = (),
    check: Callable[[str, Any], str | None] | None = None,
    typed: Any = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """A field of a dataclass of options.

    Args:
        default: its value where nobody gives one.
        help: what it does, in one line.
        panel: the heading it stands under in `--help`.
        flag: on the command line, where it is not the field's name with dashes.
        least: the smallest value it may have, if it is given.
        choices: the values it may have.
        check: says of a name and a value what is wrong with it, if anything is.
        typed: its type on the command line, where that is not the field's.
        read: turns what was typed into the field's value.
    """
    metadata = {"help": help, "panel": panel, "flag": flag, "least": least, "choices": choices,
            "check": check, "typed": typed, "read": read}  # fmt: skip
    return field(default=default, metadata=metadata)


def check_options(options: Any, error: type[NtpscoreError] = NtpscoreError) -> None:
    """Check values against `least`, `choices` and `check` of their fields.

    Raises:
        NtpscoreError: a value is too small or none of the choices.
    """
    for option_field in fields(options):
        value, rules = getattr(options, option_field.name), option_field.metadata
        if value is None or not rules:
            continue
        if rules["least"] is not None and not value >= rules["least"]:
            raise error(f"{option_field.name} must be at least {rules['least']}, got {value}")
        if rules["choices"] and value not in rules["choices"]:
            choices = ", ".join(rules["choices"])
            raise error(f"there is no {option_field.name} {value!r}: choose from {choices}")
        if rules["check"] is not None and (wrong := rules["check"](option_field.name, value)):
            raise error(wrong)


def with_keywords(keywords: Mapping[str, Any], *options: *_Kinds) -> tuple[*_Kinds]:
    """Options with keywords put in, each in the first that has a field of its name.

    Raises:
        NtpscoreError: a keyword is unknown to all, or a value makes no sense.
    """
    left = dict(keywords)
    changed: list[Any] = []
    for group in options:
        own = {f.name: left.pop(f.name) for f in fields(group) if f.name in left}  # type: ignore[arg-type]
        changed.append(replace(group, **own) if own else group)  # type: ignore[type-var]
    if left:
        known = [f.name for group in options for f in fields(group)]  # type: ignore[arg-type]
        name = next(iter(left))
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
        raise NtpscoreError(f"there is no option {name!r}: {hint}")
    return tuple(changed)


def refuse_late(options: Any, what: str) -> None:
    """Options that come too late must not be passed over in silence.

    Raises:
        NtpscoreError: one of them is not at its default.
    """
    late = [f.name for f in fields(options) if getattr(options, f.name) != f.default]
    if late:
        raise NtpscoreError(f"{', '.join(late)} can't be chosen for {what}")


def option_names(kind: Any) -> frozenset[str]:
    """The names of a class's options."""
    return frozenset(f.name for f in fields(kind))
