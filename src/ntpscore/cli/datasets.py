"""`ntpscore datasets`."""

from ntpscore.cli.options import takes_options
from ntpscore.cli.output import Output

EXAMPLES = """
List the data sets that have a short name, which stands for DATA in every command.

Configuration, revision, columns and split rule are those registered, unless options say otherwise;
--text-column, --pair-column and --template are one choice. A file or folder of that name comes
first. Where a share of train is held out, only adapt and study do so: score and rank read all of
train.

[b]Examples[/b]

  ntpscore datasets

  ntpscore datasets --json

  ntpscore score smollm2-135m medical --text-column question_2

  ntpscore adapt smollm2-135m sms_spam --method probe --hold-out 0.2
"""


@takes_options
def datasets_command(output: Output) -> None:
    """List the registered data sets."""
    from ntpscore.cli.registry_tables import print_registry
    from ntpscore.text import DATA_SETS

    print_registry(
        DATA_SETS.values(),
        ("name", "hub id", "classes", "train", "test", "columns", "licence", "note"),
        output,
        train=lambda data: data.train_texts,
        test=lambda data: (
            data.test_texts if data.hold_out is None else f"{data.hold_out:.0%} of train"
        ),
    )


datasets_command.__doc__ = EXAMPLES
