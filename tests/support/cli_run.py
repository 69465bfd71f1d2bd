"""Run the command line in this process."""

import pytest

from ntpscore.cli.main import run


def run_cli(*arguments: object) -> int:
    """The exit code of `ntpscore ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None)
