"""All commands in one tree, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli import bench, demo, documents, evaluate, imports, keys, lifecycle, mcp, memories, serve, setup, upkeep
from maas.cli.output import fail
from maas.errors import InvalidInputError, MaasError

if TYPE_CHECKING:
    from maas.embedders.protocol import Embedder


def main(argv: Sequence[str] | None = None, *, embedder: Embedder | None = None) -> None:
    """Run one command, then exit the process.

    Exit codes: 0 done, 1 maas could not do it (one line on stderr says why), 2 the command line is wrong.

    Args:
        argv: arguments without the program's name; None takes the process's.
        embedder: used instead of the configured one by commands that work on the data folder.
    """
    # Before torch and faiss load: OpenMP's idle threads would spin on the cores that serve the requests.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        build_app()(args=argv, prog_name="maas", obj=embedder)
    except MaasError as error:
        fail(error)
    except OSError as error:
        fail(error)
    except UnicodeDecodeError as error:
        fail(InvalidInputError(f"the text is no UTF-8: {error.reason} at byte {error.start}"))


def build_app() -> typer.Typer:
    """The command tree, without running it."""
    app = typer.Typer(
        help="Personal memory as a service: store what was said, recall it when it matters.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        show_version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        pass

    for register in (setup, serve, mcp, demo, memories, documents, keys, lifecycle, upkeep, imports, evaluate, bench):
        register.register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maas {version('maas')}")
        raise typer.Exit
