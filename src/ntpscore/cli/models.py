"""`ntpscore models`."""

from ntpscore.cli.options import takes_options
from ntpscore.cli.output import Output

EXAMPLES = """
List the models that have a short name, which stands for MODEL in every command.

--revision overrides what is registered. A file or folder of that name comes first. Code that a
model brings along runs only with --trust-remote-code.

[b]Examples[/b]

  ntpscore models

  ntpscore models --csv > models.csv

  ntpscore score qwen2-0.5b emotion --max-texts 4000
"""


@takes_options
def models_command(output: Output) -> None:
    """List the registered models."""
    from ntpscore.cli.registry_tables import print_registry
    from ntpscore.models import MODELS

    headings = ("name", "hub id", "width", "layers", "parameters", "licence", "note")
    print_registry(MODELS.values(), headings, output)


models_command.__doc__ = EXAMPLES
