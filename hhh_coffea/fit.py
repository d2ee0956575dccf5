"""From a results directory to a measurement: ``hhh fit RESULTS``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hhh_coffea.base.errors import UserError
from hhh_coffea.cli import CommandParser, add_debug, add_labels, guarded

EXAMPLES = """\
what happens:
  1. templates: the histogram of one observable for each region, process and
     systematic variation, scaled to the expected events of the luminosity;
     bins are merged until each has a given share of signal and background
     (transformation D)
  2. a statistical model (HistFactory, with pyhf): signal strength μ, and one
     nuisance parameter for each uncertainty
  3. discovery significance, upper limits (CLs), best fit with pulls,
     −2Δ ln L over μ

  Without --unblind, data are not used: the fit is to the expected signal and
  background (Asimov data, μ = 1).

examples:
  hhh run --fileset demo --luminosity 3000
          needed before: histograms with a luminosity
  hhh fit results
          every method, mass of the leading candidate
  hhh fit results --methods chi2,spanet --select rank=1
          mass of the second candidate
  hhh fit results --background-uncertainty 0.05 --mc-statistics
          another model of the background
  hhh fit results --normalisation QCD=0.3 --luminosity-uncertainty 0.015
          more uncertainties of rates
  hhh fit results --unblind
          fit the observed events of datasets that are data
  hhh fit results --observable score
          an observable that hhh run --observable declared
  hhh fit results --scan kappa3=-20:25,kappa4=-250:260
          self-couplings (needs results of hhh run --couplings)
  hhh fit results --config fit.yaml
          options from a file: "level: 0.9" …

what is written, into RESULTS/fit:
  fit.json, table.txt, plots/   all methods; also in RESULTS/report.html
  METHOD/workspace.json         the model, for pyhf and cabinetry
  METHOD/datacard.txt, shapes.root
                                the same model, for combine
"""
MISSING = "hhh fit needs pyhf and iminuit: pip install 'hhh-coffea[stats]'"


def parser() -> argparse.ArgumentParser:
    """Command-line options; those not given are left out of the namespace, so that fit.yaml may set them."""
    p = CommandParser(
        prog="hhh fit",
        description="Build templates and a statistical model from a results directory; significance, limits, couplings.",
        epilog=EXAMPLES,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    p.add_argument("results", metavar="RESULTS", help="results directory of hhh run")
    p.add_argument(
        "--config", metavar="YAML", help="read options from a file; options on the command line have priority"
    )
    p.add_argument("--output", metavar="DIR", help="folder for the output (default: RESULTS/fit)")
    p.add_argument("--no-plots", dest="plots", action="store_false", help="draw no figures")
    what = p.add_argument_group("what is fitted")
    what.add_argument(
        "--observable",
        metavar="NAME",
        help="observable to fit, with one entry per event (default: the first --observable of the run, else ranked_mass, the "
        "mass of the candidate with the given rank in pT)",
    )
    what.add_argument(
        "--select",
        action="append",
        metavar="AXIS=VALUE",
        help="value of another axis of the histogram: rank=1, definition=reference …; repeat it for several",
    )
    what.add_argument("--methods", metavar="A[,B]", help="reconstruction methods (default: all in the histogram)")
    what.add_argument(
        "--signal", metavar="A[,B]", help="datasets whose rate is measured (default: datasets with is_signal)"
    )
    what.add_argument("--datasets", metavar="A[,B]", help="only these datasets (default: all with the same selection)")
    what.add_argument("--luminosity", type=float, metavar="FB", help="in fb⁻¹ (default: that of the run)")
    what.add_argument("--unblind", action="store_true", help="fit the observed events of datasets that are data")
    bins = p.add_argument_group("bins")
    bins.add_argument(
        "--binning",
        choices=["automatic", "stored"],
        help="merge bins by transformation D, from nominal signal and background (default), or use those of the histogram",
    )
    bins.add_argument(
        "--z-signal", type=float, metavar="Z", help="number of bins for the signal, see docs/fit.md (default: 2.5)"
    )
    bins.add_argument(
        "--z-background",
        type=float,
        metavar="Z",
        help="number of bins for the background, see docs/fit.md (default: 2.5)",
    )
    model = p.add_argument_group("uncertainties")
    model.add_argument(
        "--background-uncertainty",
        type=float,
        metavar="FRACTION",
        help="uncertainty of the background (default: 0.1); 0 for none",
    )
    model.add_argument(
        "--background-model",
        choices=["shapesys", "normsys", "normsys_both"],
        help="parameters of this uncertainty: one per bin (shapesys, default), one for all bins (normsys), or one for all bins "
        "and one for the signal (normsys_both); the significance with normsys is always shown as well",
    )
    model.add_argument(
        "--luminosity-uncertainty",
        type=float,
        metavar="FRACTION",
        help="uncertainty of the luminosity, for all processes (default: 0)",
    )
    model.add_argument(
        "--normalisation",
        action="append",
        metavar="PROCESS=FRACTION",
        help="uncertainty of the rate of one process; repeat it for several",
    )
    model.add_argument(
        "--mc-statistics", action="store_true", help="statistical uncertainty of the simulated backgrounds in each bin"
    )
    out = p.add_argument_group("what is computed")
    out.add_argument("--level", type=float, metavar="CL", help="confidence level of limits (default: 0.95)")
    out.add_argument(
        "--scan",
        metavar="NAME[=LOW:HIGH[:POINTS]][,…]",
        help="self-couplings to scan: kappa3, kappa4 or both (needs results of hhh run --couplings)",
    )
    add_labels(p.add_argument_group("above every figure"))
    p.add_argument(
        "--verbose",
        action="store_true",
        help="also print the expected events, best fit and pulls of every method, as in table.txt",
    )
    add_debug(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Parse, fit, and return the exit code."""
    options: dict[str, Any] = vars(parser().parse_args(arguments))
    debug = bool(options.pop("debug", False))
    return guarded(lambda: _fit(options), debug, mistakes=(UserError, OSError))


def _fit(options: dict[str, Any]) -> int:
    try:
        from hhh_coffea.jobs.fit.config import make_fit_config
        from hhh_coffea.jobs.fit.run import run_fit  # heavy, and needs what not every installation has
    except ModuleNotFoundError as error:
        if error.name in {"pyhf", "iminuit"}:
            raise UserError(MISSING) from None
        raise
    return run_fit(make_fit_config(options, options.pop("config", None)))


if __name__ == "__main__":
    sys.exit(main())
