"""From arguments to an exit code: 0 done, 1 a verification or target was missed, 2 usage or input error."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import typer

from pruneir.cli import (
    bench,
    compile,
    doctor,
    explain,
    inspect,
    optimize,
    passes,
    run,
    sensitivity,
    targets,
    train,
    verify,
)
from pruneir.errors import PruneirError

app = typer.Typer(
    name="pruneir",
    help="Prune, fold and compile trained ONNX networks.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)
"""What a disk says that takes no more."""
_VERBS: tuple[Callable[..., int], ...] = (
    inspect.inspect,
    explain.explain,
    sensitivity.sensitivity,
    optimize.optimize,
    train.train,
    verify.verify,
    compile.compile,
    run.run,
    bench.bench,
    passes.passes,
    targets.targets,
    doctor.doctor,
)
for _verb in _VERBS:
    app.command()(_verb)


@app.callback(invoke_without_command=True)
def _pruneir(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from pruneir import __version__  # noqa: PLC0415

        print(__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(given: list[str]) -> int:
    try:
        _require_something(given)
        return int(app(given, prog_name="pruneir", standalone_mode=False) or 0)
    except PruneirError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except MemoryError:
        return _fail("there is not enough memory; give fewer samples, a smaller --batch, or a machine with more")
    except Exception as error:  # whatever it is, the user gets one line
        if hasattr(error, "format_message"):
            return _usage(error)
        if isinstance(error, OSError) and error.errno in _FULL:
            where = error.filename or "a file"
            return _fail(f"{where} cannot be written ({error.strerror}); make room, or write elsewhere")
        if "-v" in given or "--verbose" in given:
            traceback.print_exc()
        told = " ".join([str(error), *getattr(error, "__notes__", ())]).split()
        what = f"{type(error).__name__}: {' '.join(told)}"
        return _fail(f"internal error, please report it ({what}); run again with -v for the traceback")


def _require_something(given: list[str]) -> None:
    """PruneirError for an empty argument, which would be read as the current folder, or as no glob."""
    if "" in given:
        before = given[given.index("") - 1] if given[0] else "pruneir"
        raise PruneirError(f"what stands behind '{before}' is empty; is a variable of the shell not set?")


def _usage(error: Exception) -> int:
    """A mistake in the arguments, as the parser found it."""
    message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    verb = context.command_path if context is not None else "pruneir"
    return _fail(f"{message[:1].lower()}{message[1:]} (see {verb} --help)")


def _fail(message: str) -> int:
    print(f"pruneir: {message}", file=sys.stderr)
    return 2
