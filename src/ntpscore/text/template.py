r"""Build one text from several columns: `"Question: {question}\nAnswer: {answer}"`."""

from dataclasses import dataclass
from string import Formatter

from ntpscore.errors import DataError


@dataclass(frozen=True)
class Template:
    """A text with holes that are columns' names.

    Attributes:
        pieces: Pieces of fixed text, each with the field after it; None at the end.
        fields: The fields, each once, in the order they come.
    """

    pieces: tuple[tuple[str, str | None], ...]
    fields: tuple[str, ...]

    def fill(self, texts: tuple[str, ...]) -> str:
        """Build the text from one for each of `fields`."""
        values = dict(zip(self.fields, texts, strict=True))
        return "".join(
            fixed if field is None else fixed + values[field] for fixed, field in self.pieces
        )


def parse_template(template: str) -> Template:
    """Read a template: `{column}` stands for the column's text, `{{` and `}}` for braces.

    Nothing else of `str.format` is allowed, so a template can't reach into objects.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise DataError(
            f"the template {template!r} can't be read: {error}. Write {{{{ and }}}} for braces"
        ) from error
    pieces = []
    for fixed, field, spec, conversion in parsed:
        if field is not None:
            if not field or field.isdigit():
                raise DataError(
                    f"the template {template!r} has a field without a name: write {{column}}"
                )
            if any(mark in field for mark in ".[]") or spec or conversion:
                raise DataError(
                    f"the template {template!r} has the field {{{_shown(field, spec, conversion)}}}"
                    ": only {column} is allowed, without '.', '[', '!' or ':'"
                )
        pieces.append((fixed, field))
    fields = tuple(dict.fromkeys(field for _, field in pieces if field is not None))
    if not fields:
        raise DataError(f"the template {template!r} has no field: write {{column}} in it")
    return Template(tuple(pieces), fields)


def _shown(field: str, spec: str | None, conversion: str | None) -> str:
    return field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
