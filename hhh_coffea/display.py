"""Draw one event: ``hhh display --fileset demo --event 5``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.terminal import say
from hhh_coffea.cli import CommandParser, add_debug, add_definitions, guarded, names_of, path_of

DEFAULT = ("chi2", "chi2+bdt", "spanet")
EXAMPLES = """\
examples:
  hhh display --fileset demo --event 5
  hhh display --fileset hhh.json --dataset HHH --file hhh_07.root \\
              --event 4711 --methods chi2,spanet

The number of an event is its position in the file, from 0. It is in the
column "entry" of the candidates that hhh run --candidates writes.
"""


def parser() -> argparse.ArgumentParser:
    """Command-line options."""
    p = CommandParser(
        prog="hhh display",
        description="Draw one event: its jets, the truth, and the candidates of each method with their probabilities.",
        epilog=EXAMPLES,
    )
    p.add_argument("--fileset", required=True, metavar="JSON", help="datasets and their files, as for hhh run")
    p.add_argument("--dataset", metavar="NAME", help="dataset of the event (default: the first of the fileset)")
    p.add_argument("--file", metavar="NAME", help="a file of the dataset, by the end of its path (default: the first)")
    p.add_argument("--event", type=int, required=True, metavar="N", help="entry number in the file, from 0")
    p.add_argument(
        "--methods", type=names_of, default=DEFAULT, metavar="A[,B]", help=f"default: {','.join(DEFAULT)}, if there are models"
    )  # fmt: skip
    add_definitions(
        p,
        ["default", "reference"],
        "our definitions (default) or the published definitions (reference)",
        earlier="--metrics",
    )
    p.set_defaults(definitions="default")
    p.add_argument("--chi2-jets", type=int, metavar="K", help="as for hhh run")
    p.add_argument("--bdt", default=argparse.SUPPRESS, metavar="PATH|NAME", help="as for hhh run")
    p.add_argument("--bdt-wp", default=argparse.SUPPRESS, metavar="NAME|VALUE", help="as for hhh run")
    p.add_argument("--model", type=names_of, default=argparse.SUPPRESS, metavar="PATH|NAME", help="as for hhh run")
    p.add_argument(
        "--accept-foreign-model", action="store_true", help="use models that were trained on events of another format"
    )
    p.add_argument(
        "--output", type=path_of, default=Path(), metavar="DIR", help="folder for the figures (default: this one)"
    )
    p.add_argument("--format", choices=["png", "pdf", "svg"], default="png")
    add_debug(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, and return the exit code."""
    options = parser().parse_args(arguments)
    return guarded(lambda: _display(options), options.debug)


def _display(options: argparse.Namespace) -> int:
    from hhh_coffea.analyses import load_analyses
    from hhh_coffea.datasets.fileset import load_fileset
    from hhh_coffea.figures.event.display import draw_event
    from hhh_coffea.figures.event.matrices import draw_matrices
    from hhh_coffea.figures.event.view import read_event
    from hhh_coffea.methods import check_usable, method_options
    from hhh_coffea.methods.user_method import is_user_method

    datasets = load_fileset(options.fileset, [options.dataset] if options.dataset else None)
    dataset = next(iter(datasets.values()))
    analysis = load_analyses({dataset.name: dataset})[dataset.metadata.analysis]
    methods = list(options.methods)
    if options.methods == DEFAULT:  # not asked for by name: what does not apply is left out
        methods = [name for name in methods if name in analysis.methods]
    if unknown := [name for name in methods if name not in analysis.methods and not is_user_method(name)]:
        raise UserError(
            f"option --methods: no method {unknown[0]!r}; the methods are {', '.join(analysis.methods)}, and your own files"
        )
    model = options.model if "model" in options else ()
    settings = {key: getattr(options, key) for key in ("bdt", "bdt_wp") if key in options}
    settings["accept_foreign_model"] = options.accept_foreign_model
    made = method_options(methods, options.chi2_jets, model=model, device="cpu", analyses=[analysis], **settings)
    methods = []
    for method in made.methods:
        try:
            check_usable([method], analysis, made, dataset.metadata.format)
            methods.append(method)
        except UserError as error:  # not asked for by name: leave it out, and say so
            named = {"chi2+bdt": "bdt", "spanet": "model"}.get(method)
            if named is None or options.methods != DEFAULT or named in options:
                raise
            say(f"without {method}: {error}")
    event = read_event(
        dataset, analysis, _file(list(dataset.files), options.file), options.event, methods, options.definitions, made
    )
    options.output.mkdir(parents=True, exist_ok=True)
    figures = {"event": draw_event(event), **({"matrices": draw_matrices(event)} if event.matrices else {})}
    for name, figure in figures.items():
        path = options.output / f"{event.dataset}_{event.entry}_{name}.{options.format}"
        figure.savefig(path, metadata={"CreationDate": None} if options.format == "pdf" else None)
        say(f"wrote {path.resolve()}")
    return 0


def _file(files: list[str], wanted: str | None) -> str:
    found = [file for file in files if wanted is None or file.endswith(wanted)]
    if wanted is None or len(found) == 1:
        return found[0]
    raise UserError(
        f"option --file: {len(found)} files of the dataset end in {wanted!r}; it has {', '.join(files[:10])}"
    )


if __name__ == "__main__":
    sys.exit(main())
