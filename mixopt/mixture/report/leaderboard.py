"""Leaderboards: held-out scores of every predictor, on one loss and over all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.formatting import UNKNOWN, counted, known, loss, mean, share
from mixopt.mixture.report.inputs import TARGET
from mixopt.report.html import Column, Safe, details, join, paragraph, section, table, tag
from mixopt.report.svg import bar

SHOWN = 20  # losses in the open part of a table


def seconds(value: Any) -> str:
    return f"{value:.2g}" if known(value) and value < 10 else f"{value:.0f}" if known(value) else UNKNOWN


def target_board(scores: Sequence[Mapping[str, Any]], *, chosen: str | None, title: str) -> Safe:
    """Every predictor's scores on the target, nats/token, the lowest error first."""
    rows = [row for row in scores if row["target"] == TARGET]
    rows.sort(key=lambda row: row["rmse"] if known(row.get("rmse")) else float("inf"))
    headings = ("Spearman", "RMSE", "± of RMSE", "Regret@1", "Regret@5", "80% intervals cover", "Seconds a fit")
    body = [
        (
            row["predictor"] + (" (used)" if row["predictor"] == chosen else ""),
            loss(row.get("spearman")),
            *(loss(row.get(key), 4) for key in ("rmse", "rmse_se", "regret", "regret5")),
            share(row.get("coverage80")),
            seconds(row.get("seconds")),
        )
        for row in rows
    ]
    marked = next((n for n, row in enumerate(rows) if row["predictor"] == chosen), None)
    return table(title, [Column("Predictor", numeric=False), *map(Column, headings)], body, marked=marked)


def overall(record: Mapping[str, Any]) -> Safe:
    """Means over the losses, in standard deviations of a loss between mixtures."""
    rows, texts = record["board"], len(record["texts"])
    top = max((row["rmse_sd"] for row in rows if known(row["rmse_sd"])), default=1.0)
    bars = (
        tag(
            "li",
            tag("span", row["predictor"], class_="name"),
            bar(row["rmse_sd"], top=max(top, 1.0), line=1.0),
            tag("span", tag("b", loss(row["rmse_sd"])), class_="value"),
        )
        for row in rows
        if known(row["rmse_sd"])
    )
    caption = (
        "Mean error over the losses, in standard deviations of a loss between mixtures; shorter is better. At the "
        "dashed line a predictor does no better than always saying the mean."
    )
    headings = ("Spearman", "RMSE", "Regret@1", "Regret@5", "80% intervals cover", "Best on", "Seconds a fit")
    body = [
        (
            row["predictor"],
            *(loss(row[key]) for key in ("spearman", "rmse_sd", "regret_sd", "regret5_sd")),
            share(row["coverage80"]),
            f"{row['best_on']} of {texts}",
            seconds(row["seconds"]),
        )
        for row in rows
    ]
    columns = [Column("Predictor", numeric=False), *map(Column, headings)]
    told = (
        f"Every predictor was fitted in {counted(record['folds'], 'fold')} of {counted(record['runs'], 'run')} with "
        f"{counted(record['mixtures'], 'distinct mixture')} and judged on the mixtures left out, on "
        f"{counted(texts, 'loss')[:-1] + 'es' if texts > 1 else '1 loss'}."
    )
    return section(
        "board",
        "Leaderboard",
        paragraph(told),
        tag("figure", tag("ul", *bars, class_="rows"), tag("figcaption", caption)),
        table("Means over the losses; RMSE and regret in standard deviations of a loss", columns, body, marked=0),
        meaning(),
    )


def meaning() -> Safe:
    return paragraph(
        "Spearman: agreement of the two rankings, 1 is perfect. RMSE: typical error of a prediction. Regret@k: loss "
        "given up by training the predictor's k favourites instead of the best run. 80% intervals cover: the share of "
        "held-out runs inside their interval, which should be near 80%.",
        class_="note",
    )


def by_loss(record: Mapping[str, Any]) -> Safe:
    """Each predictor's error on each loss, in standard deviations of it, the best in bold."""
    spreads = {row["target"]: row["signal_sd"] for row in record["noise"]}
    names = [row["predictor"] for row in record["board"]]
    errors: dict[str, dict[str, float]] = {text: {} for text in record["texts"]}
    for row in record["scores"]:
        spread = spreads.get(row["target"])
        if row["target"] in errors and known(row["rmse"]) and known(spread) and spread > 0:
            errors[row["target"]][row["predictor"]] = row["rmse"] / spread
    body = [_cells(text, errors[text], names) for text in record["texts"]]
    columns = [Column("Loss", numeric=False), *map(Column, names)]
    caption = "RMSE on each loss, in its standard deviations between mixtures; the lowest in bold"
    parts = [table(caption, columns, body[:SHOWN])]
    if body[SHOWN:]:
        parts.append(details(f"{len(body) - SHOWN} more losses", table(caption, columns, body[SHOWN:])))
    return section("losses", "Loss by loss", *parts)


def _cells(text: str, errors: Mapping[str, float], names: Sequence[str]) -> list[str]:
    least = min(errors.values(), default=None)
    cells = [(loss(errors.get(name)), errors.get(name)) for name in names]
    return [text, *(tag("b", told) if value is not None and value == least else told for told, value in cells)]


def noise(record: Mapping[str, Any]) -> Safe:
    """What no predictor can get below: the scatter of repeats."""
    ratios = [row["sd"] / row["signal_sd"] for row in record["noise"] if known(row["sd"]) and known(row["signal_sd"])]
    ratios = [ratio for ratio in ratios if known(ratio)]
    if not ratios:
        told = "No mixture was trained twice, so it is not known how much of the losses' scatter is noise."
    else:
        told = (
            f"Runs of one mixture scatter by {loss(mean(ratios))} standard deviations of a loss between mixtures, on "
            "average over the losses: no predictor of single runs can have a smaller error."
        )
    return section("noise", "Noise", paragraph(told))


def notes(record: Mapping[str, Any]) -> Safe:
    """What the table's reader said, and predictors that could not be fitted."""
    told = [*record["notes"], *(f"{name} is left out: {why}" for name, why in record["refused"].items())]
    if record["left_out"]:
        told.append(f"{counted(len(record['left_out']), 'run')} diverged and took no part.")
    if not told:
        return Safe("")
    return section("notes", "Notes on the table", tag("ul", *(tag("li", text) for text in told)))


def again(made: Mapping[str, Any]) -> Safe:
    """The command, the files' hashes and the versions."""
    files = [f"{one['name']}: sha256 {one['sha256']}" for one in made.get("files") or []]
    versions = ", ".join(f"{name} {number}" for name, number in (made.get("versions") or {}).items())
    return section(
        "again",
        "Doing it again",
        tag("pre", tag("code", made.get("command") or "mixopt"), tabindex="0"),
        paragraph(f"Seed {made.get('seed')}. {versions}."),
        join([tag("ul", *(tag("li", text) for text in files))] if files else []),
    )
