"""The model card of a BDT: the numbers of ``model.yaml`` in sentences and tables, for people."""

from __future__ import annotations

from typing import Any

_NOT_TUNED = ("objective", "seed", "trees", "logloss", "auc")


def summary(card: dict[str, Any]) -> str:
    """Give the few lines that training ends with."""
    parts = {"validation": card["validation"], "test": card.get("test", {}).get("models", {})}
    return "\n".join(
        f"{part} AUC of {model} on {group} {_plus_minus(numbers['auc'], 4)}"
        for part, models in parts.items()
        for model, groups in models.items()
        for group, numbers in groups.items()
    )


def text(name: str, card: dict[str, Any]) -> str:
    """Compose ``README.md``. Every number in it stands in ``model.yaml``, measured by the training command."""
    training = card["training"]
    jets = training["fat_jets"]
    n_signal, n_background = (sum(d[kind] for d in jets.values()) for kind in ("signal", "background"))
    lines = [
        f"# {name}",
        "",
        "Boosted decision tree (xgboost) that separates large-radius jets of H → bb from others, for the method `chi2+bdt`.",
        "Written by `hhh train bdt`; `model.yaml` has the full record, `evaluation/` the histograms and",
        "figures. Do not edit: train again.",
        "",
        "## Intended use",
        "",
        f"`hhh run --methods chi2+bdt --bdt {name} --bdt-wp loose`. Simulated events of the kind it was trained",
        "on. The score ranks large-radius jets and is not a probability (training balances the classes). It is not decorrelated",
        "from the jet mass: background that passes a cut peaks near the mass of the particle.",
        "",
        "## Data",
        "",
        f"Features, in order: {', '.join(f'`{f}`' for f in card['features'])}.",
        "Signal: large-radius jets matched to a target (`default` truth). Background: the other large-radius jets of signal",
        "events and all those of background events. Events pass the selection of the main job; its kept jets are used.",
        "",
        "| dataset | files | signal | background |",
        "|---|---|---|---|",
        *(
            f"| {dataset} | {', '.join(f['file'] for f in training['files'] if f['dataset'] == dataset)} "
            f"| {n['signal']:,} | {n['background']:,} |"
            for dataset, n in jets.items()
        ),
        f"| trained on | | {n_signal:,} | {n_background:,} |",
        "",
        f"{training['validation_fraction']:.0%} of the events of these files, chosen by a hash of (file uuid, entry), are not in",
        "the counts above: they are the validation events, which stop the training, choose among the searched parameters and",
        "set the working points.",
        "",
        "## Training",
        "",
        f"{training['trees']} trees; {_parameters(training['parameters'])}; both classes with the same total weight; stopped",
        f"after {training['early_stopping']['rounds']} rounds without a better validation loss and cut back to the best.",
        "",
        "Searched, the first row being the published hyper-parameters; chosen is the one with the fewest trees among those",
        f"within {training['search_tolerance']:g} of the best validation AUC:",
        "",
        "| parameters | trees | validation loss | validation AUC |",
        "|---|---|---|---|",
        *(
            f"| {_parameters(row)} | {row['trees']} | {row['logloss']:.5f} | {row['auc']:.5f} |"
            for row in training["search"]
        ),
        "",
        "## Working points",
        "",
        "Score above which a large-radius jet is a candidate, set on validation events at the named misidentification:",
        "",
        "| working point | score | on | misidentification | signal efficiency |",
        "|---|---|---|---|---|",
    ]
    own = card.get("test", {}).get("models", {}).get(name, {})
    everything, numbers = list(card["validation"][name].items())[-1]
    measured = [("validation", everything, numbers), *(("test", group, m) for group, m in own.items())]
    for point, score in card["working_points"].items():
        for where, group, numbers in measured:
            fake, found = (numbers["working_points"][point][w] for w in ("misidentification", "signal_efficiency"))
            lines.append(f"| {point} | {score:.6f} | {where}, {group} | {_percent(fake)} | {_percent(found)} |")
    lines += [
        "",
        "The share of background jets that pass depends on their origin, and so on the mixture (`model.yaml` has intervals):",
        "",
        "| working point | on | " + " | ".join(f"misidentification in {dataset}" for dataset in jets) + " |",
        "|---|---|" + "---|" * len(jets),
    ]
    for point in card["working_points"]:
        for where, group, numbers in (measured[0], *measured[-1:]):
            fakes = (numbers["working_points"][point].get(f"misidentification_{dataset}") for dataset in jets)
            lines.append(
                f"| {point} | {where}, {group} | " + " | ".join(_percent(f) if f else "–" for f in fakes) + " |"
            )
    lines += [
        "",
        "## Performance",
        "",
        "On validation events, and on test files that were never trained on"
        + (f" ({', '.join(f['file'] for f in card['test']['files'])})." if own else " (none given)."),
        "Errors: bootstrap over events. Rejection: one in this number of background jets passes the cut of that efficiency.",
        "",
        "| model | jets of | signal | background | AUC | rejection at 50% | at 70% | at 90% |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part, models in (("test", card.get("test", {}).get("models", {})), ("validation", card["validation"])):
        for model, groups in models.items():
            for group, m in groups.items():
                at = m["at_signal_efficiency"]
                rejections = " | ".join(_plus_minus(at[e]["rejection"], 1) for e in at)
                n, auc = m["fat_jets"], _plus_minus(m["auc"], 4)
                lines.append(
                    f"| {model} | {part}, {group} | {n['signal']:,} | {n['background']:,} | {auc} | {rejections} |"
                )
    lines += [
        "",
        "The published BDT (arXiv:2412.03819) has an AUC of 0.927 on its authors' own HHH + QCD events.",
        "",
        "![ROC](evaluation/plots/bdt_roc.png)",
    ]
    return "\n".join(lines) + "\n"


def _plus_minus(number: dict[str, Any], digits: int) -> str:
    if number["value"] is None or number["error"] is None:
        return "–"
    return f"{number['value']:.{digits}f} ± {number['error']:.{digits}f}"


def _percent(fraction: dict[str, Any]) -> str:
    if fraction["value"] is None:
        return "–"
    up, down = fraction["high"] - fraction["value"], fraction["value"] - fraction["low"]
    return f"{100 * fraction['value']:.2f} +{100 * up:.2f} −{100 * down:.2f}%"


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in parameters.items() if key not in _NOT_TUNED)
