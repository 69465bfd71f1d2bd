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

    rows = [
        {
            "name": model.name,
            "hub id": model.hub_id,
            "width": model.width,
            "layers": model.layers,
            "parameters": model.parameters,
            "licence": model.licence,
            "note": model.note,
        }
        for model in MODELS.values()
    ]
    print_registry([model.record() for model in MODELS.values()], rows, output)


models_command.__doc__ = EXAMPLES
