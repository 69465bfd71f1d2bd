"""Options as frozen dataclasses: one field is one keyword, one flag and one help text.

A class of options names its fields with `option`; keywords in Python, flags on the command line
(`ntpscore.cli.options`) and the keys of study files are read from them, so that a new option is a
new field and nothing else.
"""

import os
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import field, fields, replace
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVarTuple, Union, get_args, get_origin, get_type_hints

from ntpscore.errors import NtpscoreError

_Kinds = TypeVarTuple("_Kinds")
_WANTED = {
    bool: "True or False", int: "a whole number", float: "a number", str: "a text",
    dict: "a dictionary", NoneType: "None", (tuple, int): "a tuple of whole numbers",
    (tuple, str): "a tuple of texts",
}  # fmt: skip


def option(
    default: Any,
    help: str,  # noqa: A002  # typer's word
    *,
    panel: str | None = None,
    flag: str | None = None,
    least: float | None = None,
    choices: Collection[str] = (),
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
        choices: the values it may have, as they are when options are made.
        check: says of a name and a value what is wrong with it, if anything is.
        typed: its type on the command line, where that is not the field's.
        read: turns what was typed into the field's value.
    """
    metadata = {"help": help, "panel": panel, "flag": flag, "least": least, "choices": choices,
            "check": check, "typed": typed, "read": read}  # fmt: skip
    return field(default=default, metadata=metadata)


def check_options(options: Any, error: type[NtpscoreError] = NtpscoreError) -> None:
    """Check values against the types of their fields, and `least`, `choices` and `check`.

    A number of numpy or torch becomes one of Python, a list a tuple, a path its text.

    Raises:
        NtpscoreError: a value is of another type, too small or none of the choices.
    """
    kinds = _field_kinds(type(options))  # type: ignore[arg-type]  # a class can be hashed
    for option_field in fields(options):
        name, rules = option_field.name, option_field.metadata
        value = _of_kind(getattr(options, name), kinds[name])
        if value is _NOT_OF_KIND:
            wanted = " or ".join(_wanted(kind) for kind in kinds[name])
            raise error(f"{name} must be {wanted}, got {getattr(options, name)!r}")
        object.__setattr__(options, name, value)  # frozen, and still being made
        if value is None or not rules:
            continue
        if rules["least"] is not None and not value >= rules["least"]:
            raise error(f"{name} must be at least {rules['least']}, got {value}")
        if rules["choices"] and value not in rules["choices"]:
            choices = ", ".join(rules["choices"])
            raise error(f"there is no {name} {value!r}: choose from {choices}")
        if rules["check"] is not None and (wrong := rules["check"](name, value)):
            raise error(wrong)


_NOT_OF_KIND = object()


@cache
def _field_kinds(options: Hashable) -> dict[str, tuple[Any, ...]]:
    """The types that each field may have."""
    return {
        name: get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        for name, hint in get_type_hints(options).items()
    }


def _of_kind(value: Any, kinds: tuple[Any, ...]) -> Any:
    """The value as the first of these types that it is of, else `_NOT_OF_KIND`."""
    if Any in kinds:
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    found = (taken for kind in kinds if (taken := _as_kind(value, kind)) is not _NOT_OF_KIND)
    return next(found, _NOT_OF_KIND)


def _as_kind(value: Any, kind: Any) -> Any:
    whole = get_origin(kind) or kind
    if whole is tuple:
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        each = [_of_kind(one, get_args(kind)[:1]) for one in value] if several else [_NOT_OF_KIND]
        return _NOT_OF_KIND if _NOT_OF_KIND in each else tuple(each)
    if whole is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    taken: Any = {float: (int, float), Literal: str}.get(whole, whole)
    # A truth value is an int to Python.
    is_of_kind = isinstance(value, taken) and isinstance(value, bool) == (whole is bool)
    return value if is_of_kind else _NOT_OF_KIND


def _wanted(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    origin = get_origin(kind)
    return _WANTED[(origin, get_args(kind)[0]) if origin is tuple else origin or kind]


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
