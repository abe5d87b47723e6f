"""The demo study from corpora to verification: held-out scores, noise, and what the recommendation really gains.

    python benchmarks/demo.py [--quick] [--out DIR]

Seed 0 for data order and initialisation of all mixtures, 1 and 2 for the repeats, 1000 and 1001 for verification.
The full run trains 64 proxies of three sizes and 16 verification runs, half of them at the largest size and twice its
tokens, about 20 minutes on 2 cores. --quick uses text that comes with mixopt's own dependencies, fewer and shorter
proxies of one size, and verifies at that size only.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from mixopt.errors import MixoptError
from mixopt.study.pipeline import open_session, run

HERE = Path(__file__).resolve().parent


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--out", type=Path, help="study folder to keep; default: a temporary one")
    given = options.parse_args()
    print("benchmark,case,method,metric,value")
    with tempfile.TemporaryDirectory() as scratch:
        study = HERE / "quick.yaml" if given.quick else HERE.parent / "configs" / "quickstart.yaml"
        try:
            session = open_session(study, given.out or Path(scratch) / "study")
            recommendation = run(session)
            verified = session.kind.verify(session)
        except MixoptError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        selection = read_selection(session)
    scores(selection)
    other_pools(selection)
    noise(selection)
    gains(recommendation, verified)
    return 0


def read_selection(session: Any) -> dict[str, Any]:
    from mixopt.serialization import read_json

    return read_json(session.folder.selection, made_by="fit")


def row(case: str, method: str, metric: str, value: float | None) -> None:
    if value is not None:
        print(f"demo,{case},{method},{metric},{value:.4f}", flush=True)


def scores(selection: dict[str, Any]) -> None:
    """Held-out, by predictor; `default` is the one that mixopt chose."""
    for method in dict.fromkeys(s["predictor"] for s in selection["scores"]):
        mine = {s["target"]: s for s in selection["scores"] if s["predictor"] == method}
        target = mine.pop("target")
        ranks = [s["spearman"] for s in mine.values() if s["spearman"] is not None]
        for name in [method, "default"] if method == selection["chosen"] else [method]:
            for metric in ("spearman", "rmse", "regret"):
                row("held-out target", name, metric, target[metric])
            row("held-out mean of texts", name, "spearman", sum(ranks) / len(ranks) if ranks else None)


def other_pools(selection: dict[str, Any]) -> None:
    """Error on runs of the design's mixtures from other pools, each predicted without its mixture."""
    pools = selection["repetition"]
    if pools:
        for name, key in ((pools["aware"], "with"), (pools["plain"], "without")):
            row("target at other pools", name, "rmse", pools[key])


def noise(selection: dict[str, Any]) -> None:
    for one in selection["noise"]:
        row(f"noise {one['target']}", "repeats", "sd", one["sd"])
        row(f"noise {one['target']}", "repeats", "signal_to_noise", one["signal_to_noise"])


def gains(recommendation: dict[str, Any], verified: dict[str, Any]) -> None:
    """Nats/token of the target that the recommendation is below each arm: predicted, then measured."""
    for arm in ("natural", "uniform", "smallest_rung"):
        for size in verified["sizes"]:
            won = size["gains"].get(arm)
            predicted = (size["predicted"] or recommendation)["predicted"]
            case = f"gain over {arm} at {size['params_scale']:.3g}x parameters"
            if arm in predicted:
                gain = predicted[arm]["loss"] - predicted["recommended"]["loss"]
                row(case, "default", "predicted", gain)
            if won is not None:
                row(case, "default", "measured", won["mean"])
                row(case, "default", "standard_error", won["standard_error"])
    for size in verified["sizes"]:
        for arm, losses in size["arms"].items():
            if size["predicted"] and losses:
                case, expected = (
                    f"loss of {arm} at {size['params_scale']:.3g}x parameters",
                    size["predicted"]["predicted"][arm],
                )
                row(case, "default", "predicted", expected["loss"])
                row(case, "default", "measured", sum(losses) / len(losses))
                row(
                    case, "default", "inside80", float(expected["low"] <= sum(losses) / len(losses) <= expected["high"])
                )


if __name__ == "__main__":
    sys.exit(main())
