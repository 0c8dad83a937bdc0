"""The application: errors in one line, exit codes, and what every command shares.

====  ==========================================================
code  meaning
====  ==========================================================
0     done
1     failure
2     wrong usage: an unknown command, option, name or value
130   stopped by Ctrl-C; a run that was stopped can be resumed
====  ==========================================================
"""

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from capsnp.blocks import n_threads
from capsnp.errors import CapsnpError, OptionError

# click, or the copy of it that newer versions of typer hold, under one name
ClickError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

STOPPED = 130


class Stopped(CapsnpError):
    """Ctrl-C; the message says how to go on."""


class Commands(TyperGroup):
    """A group of commands whose errors are one line on standard error."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run a command and exit with its code."""
        named = {"prog_name": "capsnp"} if len(args) < 2 else {}
        try:
            code = super().main(*args, **(options | named | {"standalone_mode": False}))
        except ClickError as error:
            if not error.format_message():  # no arguments, so help was shown
                sys.exit(error.exit_code)
            _fail(error.format_message(), error.exit_code)
        except typer.Abort:
            _fail("stopped", STOPPED)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; with --debug its errors keep their traceback."""
        try:
            n_threads()  # refuses a wrong value of its variable before any work
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("stopped", STOPPED)
        except Stopped as stop:
            _fail(str(stop), STOPPED)
        except BrokenPipeError:  # whoever reads the output has seen enough
            raise
        except (CapsnpError, OSError, MemoryError) as error:
            if ctx.obj == "debug":
                raise
            _fail(_in_one_line(error), 2 if isinstance(error, OptionError) else 1)


def _in_one_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".removesuffix(": ")
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"capsnp: error: {message}" if code != STOPPED else f"capsnp: {message}", err=True)
    sys.exit(code)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Products of expert capsules: train them, look at what they draw, judge it.",
)
