"""Run the command line in this process."""

import pytest

from ntpscore.cli.main import run


def run_cli(*arguments: object) -> int:
    """The exit code of `ntpscore ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `ntpscore ARGUMENTS` says as it refuses: one message, exit code 2, nothing printed."""
    assert run_cli(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.count("ntpscore: error:") == 1
    return printed.err
