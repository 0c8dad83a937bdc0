"""Standard output that is closed, or cannot show every sign."""

import errno
import io
import sys

import pytest

from capsnp.cli import main


@pytest.fixture
def run_main(monkeypatch, capsys):
    """``run_main(stdout, *arguments)``: exit code and standard error of the command."""

    def run(stdout, *arguments):
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "argv", ["capsnp", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code, capsys.readouterr().err

    return run


class ClosedPipe(io.StringIO):
    """A pipe that nobody reads any more."""

    def __init__(self, descriptor):
        super().__init__()
        self.descriptor = descriptor

    def fileno(self):
        return self.descriptor

    def write(self, _text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("arguments", [("info",), ("--help",), ("sample", "-n", "2")])
def test_a_pipe_that_is_closed_ends_the_command_without_a_word(run_main, arguments, made, tmp_path):
    if arguments[0] == "sample":
        arguments = (*arguments, made, "-o", tmp_path / "out.npz")
    with (tmp_path / "descriptor").open("w") as file:
        assert run_main(ClosedPipe(file.fileno()), *arguments) == (1, "")


def test_signs_that_the_output_has_not_are_replaced(run_main):
    out = io.BytesIO()
    stdout = io.TextIOWrapper(out, encoding="ascii")
    code, errors = run_main(stdout, "verify", "--name", "squash_by_scalars", "--quiet")
    assert (code, errors) == (0, "")
    stdout.flush()
    assert b"1 claim: 1 holds." in out.getvalue()
    assert "\N{DOUBLE VERTICAL LINE}z" not in out.getvalue().decode("ascii")
