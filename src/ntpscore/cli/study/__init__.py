"""`ntpscore study`: what scores say of outcomes over many models and data sets."""

import typer

from ntpscore.cli.study.forecast import forecast_command
from ntpscore.cli.study.paper import (
    figures_command,
    margin_command,
    paper_command,
    published_command,
    words_command,
)
from ntpscore.cli.study.plan import plan_command
from ntpscore.cli.study.run import run_command, status_command
from ntpscore.cli.study.tables import rules_command, tables_command

app = typer.Typer(
    help="What scores say of outcomes, over many models and data sets.", no_args_is_help=True
)
app.command("run")(run_command)
app.command("status")(status_command)
app.command("plan")(plan_command)
app.command("tables")(tables_command)
app.command("rules")(rules_command)
app.command("paper")(paper_command)
app.command("figures")(figures_command)
app.command("margin")(margin_command)
app.command("words")(words_command)
app.command("published")(published_command)
app.command("forecast")(forecast_command)
