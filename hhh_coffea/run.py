"""The main job: ``hhh run --fileset hhh.json``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hhh_coffea import __version__
from hhh_coffea.analyses import all_methods
from hhh_coffea.base.bundled import BDTS, SPANETS, list_bundled
from hhh_coffea.cli import EXIT_CODES, CommandParser, add_debug, add_definitions, add_labels, guarded
from hhh_coffea.config import RunConfig, make_config

EXAMPLES = """\
examples:
  hhh run --fileset demo                   the bundled events, into ./results
  hhh run --fileset hhh.json --dry-run     print what would be read
  hhh run --fileset hhh.json --executor dask --workers 8 --candidates
  hhh run --fileset hhh.json --executor dask --scheduler tcp://node1:8786
  hhh run --fileset hhh.json --executor dask --cluster slurm \\
          --cluster-config slurm.yaml
  hhh run --fileset hhh.json --datasets HHH,QCD --chi2-jets 8
  hhh run --fileset hhh.json --methods chi2,chi2+bdt --bdt-wp medium
  hhh run --fileset hhh.json --methods spanet --model models/my_spanet
  hhh run --fileset hhh.json --methods chi2,my_method.py:MyMethod
  hhh run --fileset hhh.json --processor my_processor.py --set region=SR
  hhh run --fileset hhh.json --processor bdt_scan
          purity and efficiency against the working point
  hhh run --fileset hhh.json --processor sculpting
          masses in background, compared with random pairing
  hhh run --fileset demo --luminosity 3000
          expected events; then: hhh fit results
  hhh run --fileset demo_tops --overlay-published
          semi-leptonic tops, with published rows
  hhh run --config run.yaml
          options from a file: "fileset: hhh.json", "chi2_jets: 8" …
"""


def parser() -> argparse.ArgumentParser:
    """Command-line options; those not given are left out of the namespace, so that run.yaml may set them."""
    p = CommandParser(
        prog="hhh run",
        description="Find out which objects of Delphes and NanoAOD events came from which particle.",
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    p.add_argument("--version", action="version", version=f"hhh_coffea {__version__}")
    p.add_argument(
        "--config", metavar="YAML", help="read options from a file; options on the command line have priority"
    )
    what = p.add_argument_group("what to read")
    what.add_argument(
        "--fileset",
        metavar="JSON",
        help="datasets and their files; a name without folder is searched in this folder, then among the bundled "
        f"filesets ({', '.join(list_bundled('fileset'))})",
    )
    what.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the fileset")
    what.add_argument("--max-files", type=int, metavar="N", help="at most N files per dataset")
    what.add_argument("--max-chunks", type=int, metavar="N", help="at most N chunks per dataset")
    what.add_argument(
        "--chunksize",
        type=int,
        metavar="N",
        help="events per chunk (default: 100000, or fewer if their branches exceed 256 MiB)",
    )
    what.add_argument("--dry-run", action="store_true", help="print what would be read, and stop")
    how = p.add_argument_group("what to compute")
    how.add_argument(
        "--methods",
        metavar="A[,B]",
        help=f"reconstruction methods: {', '.join(all_methods())}, or your own file, my_method.py:MyMethod, which is executed "
        "(default: chi2)",
    )
    add_definitions(
        how,
        ["default", "reference", "both"],
        "what counts as correct: our definitions (default), the published ones of arXiv:2412.03819 (reference), or both; both "
        "if this option is not given (docs/definitions.md)",
        earlier="--metrics",
    )
    how.add_argument(
        "--chi2-jets", type=int, metavar="K", help="χ² chooses among the first K ≤ 10 jets (default: as many as needed)"
    )
    how.add_argument("--chi2-mass", type=float, metavar="GEV", help="mass of the particle in χ² (default: 125)")
    _add_models(how)
    how.add_argument(
        "--btagging", choices=["upart", "csv"], help="re-sample the b tags of Delphes jets with this parametrisation"
    )
    how.add_argument(
        "--processor",
        metavar="NAME|PATH.py[:Class]",
        help=f"coffea processor to run: bundled ({', '.join(list_bundled('processors'))}) or your own file, "
        "which is executed (default: assignment)",
    )
    _add_observables(how)
    how.add_argument(
        "--set",
        action="append",
        dest="options",
        metavar="NAME=VALUE",
        help="an option of your own processor (a parameter of its __init__) or of a method, for example chi2.btag=veto "
        "(docs/tops.md); repeat it for several options",
    )
    where = p.add_argument_group("where to run")
    where.add_argument(
        "--executor",
        choices=["iterative", "futures", "dask"],
        help="this process (default), local processes, or dask.distributed",
    )
    where.add_argument("--workers", type=int, metavar="N", help="local worker processes (default: one per core)")
    where.add_argument(
        "--scheduler",
        metavar="tcp://…|FILE",
        help="join this dask scheduler, by its address or its scheduler file, instead of starting a cluster",
    )
    where.add_argument("--cluster", choices=["slurm", "htcondor"], help="start the workers with a batch system")
    where.add_argument("--cluster-config", metavar="YAML", help="jobs, cores, memory … of --cluster (docs/clusters.md)")
    where.add_argument("--ship-package", action="store_true", help="send this package to the workers of the cluster")
    where.add_argument(
        "--dashboard-address",
        metavar="HOST:PORT",
        help="address of the dashboard of a local cluster (default: 127.0.0.1:8787)",
    )
    where.add_argument("--tls-ca-file", metavar="PEM", help="certificate authority, for encrypted dask connections")
    where.add_argument("--tls-cert", metavar="PEM", help="certificate, for encrypted dask connections")
    where.add_argument("--tls-key", metavar="PEM", help="key of the certificate")
    where.add_argument(
        "--chunk-timeout",
        type=float,
        metavar="SECONDS",
        help="skip a file or chunk that takes longer than this twice (default: no limit)",
    )
    where.add_argument(
        "--no-resume",
        dest="resume",
        action="store_false",
        help="do not reuse the finished chunks of an interrupted run into --output, and keep none",
    )
    where.add_argument("--performance-report", action="store_true", help="write the performance report of dask")
    where.add_argument(
        "--on-error",
        choices=["stop", "skip"],
        help="stop the run at a failed file or chunk, or skip it (default: skip)",
    )
    out = p.add_argument_group("what to write")
    out.add_argument("--output", metavar="DIR", help="results directory (default: results)")
    out.add_argument(
        "--overwrite", action="store_true", help="replace the results in --output even if they contain other datasets"
    )
    _add_files(out)
    out.add_argument("--no-plots", dest="plots", action="store_false", help="draw no figures")
    out.add_argument(
        "--overlay-published",
        action="store_true",
        help="draw the published curves over ours, and add the published rows to the tables of assignments",
    )
    out.add_argument(
        "--luminosity",
        type=float,
        metavar="FB",
        help="integrated luminosity in fb⁻¹, for expected events in the cutflow, stacked figures and hhh fit; every simulated "
        "dataset then needs 'cross_section' (pb) in its metadata",
    )
    add_labels(out)
    out.add_argument(
        "--verbose",
        action="store_true",
        help="print every category and definition, and the cutflow, as in report.html",
    )
    add_debug(p)
    return p


def _add_models(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--bdt",
        metavar="PATH|NAME",
        help=f"model of chi2+bdt: bundled ({', '.join(list_bundled('models', BDTS))}), a model directory, or an xgboost file "
        "with feature names (default: hbb_bdt)",
    )
    how.add_argument(
        "--bdt-wp",
        metavar="loose|medium|tight|VALUE",
        help="working point: large-radius jets with a higher score are boosted candidates (default: loose)",
    )
    how.add_argument(
        "--model",
        metavar="PATH|NAME[,…]",
        help="SPANet models, one for each analysis in the fileset: bundled "
        f"({', '.join(list_bundled('models', SPANETS))}) or a model directory (default: the bundled model of each analysis)",
    )
    how.add_argument(
        "--accept-foreign-model",
        action="store_true",
        help="use models that were trained on another format (for example Delphes models for NanoAOD); results "
        "and figures have a warning",
    )
    how.add_argument(
        "--device",
        metavar="auto|cpu|cuda[:i]",
        help="where networks (spanet, pdnn) run (default: a GPU if there is one)",
    )


def _add_files(out: argparse._ArgumentGroup) -> None:
    out.add_argument("--candidates", action="store_true", help="also write every candidate, as parquet")
    out.add_argument(
        "--events",
        action="store_true",
        help="also write one row per selected event and method, as parquet (docs/results_directory.md)",
    )
    out.add_argument(
        "--skim",
        action="store_true",
        help="also write the selected events with their candidates, as ROOT files that can be read again (docs/skim.md)",
    )
    out.add_argument("--root", action="store_true", help="also write the histograms as histograms.root (TH1, TH2)")


def _add_observables(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--region",
        action="append",
        dest="regions",
        metavar="NAME=EXPRESSION",
        help="a region of events: 'many_tags=sum(jets.btag) >= 5'; repeat it for several (docs/fit.md explains expressions)",
    )
    how.add_argument(
        "--observable",
        action="append",
        dest="observables",
        metavar="NAME=EXPRESSION@BINS,LOW,HIGH[,LABEL]",
        help="a value of each event, as a histogram by region, dataset and method: 'ht=sum(jets.pt)@40,0,2000,HT [GeV]'; repeat "
        "it for several (default with --region or --couplings: mass of the leading candidate)",
    )
    how.add_argument(
        "--couplings",
        action="store_true",
        help="also fill observables of HH and HHH as functions of the self-couplings, for hhh fit --scan",
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and return the exit code."""
    options: dict[str, Any] = vars(parser().parse_args(arguments))
    debug = bool(options.get("debug"))
    return guarded(lambda: _run(options), debug, lost="no results were written; repeat the command to continue")


def _run(options: dict[str, Any]) -> int:
    config: RunConfig = make_config(options, options.pop("config", None))
    from hhh_coffea.jobs.main import run_job  # heavy: only once the options are known to be good

    return run_job(config)


if __name__ == "__main__":
    sys.exit(main())
