"""The first screen: the recommended mixture, what it is predicted to give, and what to beware of."""

from typing import Any

from mixopt.formatting import (
    UNKNOWN,
    against,
    amount,
    counted,
    digits_for,
    known,
    listed,
    loss,
    mean,
    mixture,
    passes,
    scale,
    share,
    share_cell,
)
from mixopt.mixture.report.inputs import Study
from mixopt.mixture.summary import told_optimism
from mixopt.report.html import Column, Safe, details, join, paragraph, section, table, tag
from mixopt.report.svg import compared_bars

SHOWN = 30  # bars before the rest are folded away


def headline(study: Study) -> Safe:
    """The recommendation in words."""
    return tag(
        "section",
        tag("h1", f"Recommended mixture: {study.name}"),
        paragraph(f"Train on {mixture(study.shares('recommended')) or 'nothing'}.", class_="headline"),
        paragraph(_prediction(study), class_="prediction"),
        paragraph(_scope(study), class_="scope"),
        id="recommendation",
    )


def _digits(study: Study) -> int:
    best = study.predicted("recommended")
    low, high = best.get("low"), best.get("high")
    return digits_for(high - low if known(low) and known(high) else None)


def _prediction(study: Study) -> str:
    best = study.predicted("recommended")
    if not known(best.get("loss")):
        return "No loss was predicted for it."
    digits = _digits(study)
    parts = [
        f"Predicted target loss {loss(best['loss'], digits)} nats/token at proxy scale{_interval(study, best, digits)}"
    ]
    for name in ("uniform", "natural"):
        other = study.predicted(name).get("loss")
        if known(other):
            parts.append(f"{against(best['loss'], other, digits)} {name}")
    return ", ".join(parts) + "." + _best_run(study, digits)


def _interval(study: Study, predicted: dict[str, Any], digits: int) -> str:
    if not (known(predicted.get("low")) and known(predicted.get("high"))):
        return ""
    level = study.part("interval").get("level")
    kind = f"{100 * level:.0f}% interval" if known(level) else "interval"
    return f" ({kind} {loss(predicted['low'], digits)} to {loss(predicted['high'], digits)})"


def _best_run(study: Study, digits: int) -> str:
    run = study.predicted("best_measured")
    if not known(run.get("loss")):
        return ""
    recommended = study.predicted("recommended")["loss"]
    text = (
        f" The best mixture among the runs ({run.get('run_id', 'unnamed')}"
        + (f", measured {loss(run['measured'], digits)}" if known(run.get("measured")) else "")
        + f") is predicted at {loss(run['loss'], digits)}; "
        + f"the recommendation is {against(recommended, run['loss'], digits)} it"
    )
    noise = study.noise().get("sd")
    if known(noise) and abs(recommended - run["loss"]) < noise:
        text += f", a difference within the noise of one run ({loss(noise, max(digits, 3))})"
    return text + "."


def _scope(study: Study) -> str:
    """What the numbers are about: full-scale tokens and epochs, proxy-scale losses."""
    full, proxy = scale(study.part("full")), scale(study.part("proxy"))
    planned = (
        f"Shares, tokens and epochs are meant for a full run of {full}."
        if full
        else ("The study names no full run, so tokens and epochs can't be given.")
    )
    if full and not known(study.part("full").get("tokens")):
        planned += " Its tokens are not given, so tokens and epochs per domain are unknown."
    of = f"proxies of {proxy}" if proxy else "the proxy runs"
    return f"{planned} Every loss on this page is for {of}; the loss of the full run is not predicted."


def warnings(study: Study) -> Safe:
    """What to beware of, in plain sentences."""
    told = [str(text) for text in study.recommendation.get("warnings") or []]
    gone = [f"{row['run_id']} ({row['reason']})" for row in study.selection.get("left_out") or []]
    gone = gone or [f"{run.run_id} ({run.left_out})" for run in study.runs if run.left_out]
    if gone:
        names = listed(gone if len(gone) <= 6 else [*gone[:5], f"{len(gone) - 5} more"])
        told.append(f"{counted(len(gone), 'run')} left out of every fit: {names}.")
    if not told:
        return section("warnings", "Warnings", paragraph("None."))
    return tag(
        "section",
        tag("h2", "Warnings", id="warnings-title"),
        tag("ul", *(tag("li", text) for text in told)),
        id="warnings",
        class_="warnings",
        aria_labelledby="warnings-title",
    )


def shares(study: Study) -> Safe:
    """Bars and table of every domain's share."""
    rows = study.domains
    if not rows:
        return section("mixture", "The mixture", paragraph("The recommendation names no domain."))
    top = max((v for row in rows for k in ("recommended", "natural", "uniform") if known(v := row.get(k))), default=1.0)
    bars = [_bar_row(row, top or 1.0) for row in rows]
    folded = bars[SHOWN:]
    parts = [tag("ul", *bars[:SHOWN], class_="rows")]
    if folded:
        parts.append(details(f"{counted(len(folded), 'smaller domain')}", tag("ul", *folded, class_="rows")))
    legend = tag(
        "figcaption",
        Safe(
            '<span class="key recommended"></span>recommended <span class="key natural"></span>natural '
            '<span class="key uniform"></span>uniform. '
        ),
        "Share of training tokens. Natural is each domain's share of the text that there is.",
    )
    return section("mixture", "The mixture", tag("figure", legend, *parts), _shares_table(rows), _losses_table(study))


def _bar_row(row: dict[str, Any], top: float) -> Safe:
    natural = row.get("natural") if known(row.get("natural")) else None
    uniform = row.get("uniform") if known(row.get("uniform")) else None
    return tag(
        "li",
        tag("span", str(row["domain"]), class_="name"),
        compared_bars(row.get("recommended") or 0.0, natural, uniform, top=top),
        tag("span", tag("b", share(row.get("recommended"))), f" natural {share(natural)}", class_="value"),
    )


def _shares_table(rows: list[dict[str, Any]]) -> Safe:
    names = ("Natural", "Uniform", "Recommended", "Against natural", "Best run", "Tokens", "Epochs", "Pool")
    limits = [_limit(row) for row in rows]
    columns = [Column("Domain", numeric=False), *map(Column, names)]
    columns += [Column("Limit", numeric=False)] if any(limits) else []
    body = (
        (
            str(row["domain"]),
            share_cell(row.get("natural")),
            share_cell(row.get("uniform")),
            tag("b", share_cell(row.get("recommended"))),
            _times(row),
            share_cell(row.get("best_measured")),
            amount(row.get("tokens")),
            passes(row.get("epochs")),
            amount(row.get("pool")),
            *([limit] if any(limits) else []),
        )
        for row, limit in zip(rows, limits, strict=True)
    )
    caption = "Shares of training tokens; tokens, epochs and pool (unique tokens) of the full run"
    return table(caption, columns, body)


def _times(row: dict[str, Any]) -> str:
    natural, recommended = row.get("natural"), row.get("recommended")
    if not (known(natural) and known(recommended)) or natural == 0:
        return UNKNOWN
    ratio = recommended / natural
    return f"× {ratio:.0f}" if ratio >= 9.95 else f"× {ratio:.1f}" if ratio >= 0.95 else f"× {ratio:.2f}"


def _limit(row: dict[str, Any]) -> str:
    """Whether the share stands at a limit that the study set; a floor of 0 and a cap of 1 are no limits."""
    value, low, high = row.get("recommended"), row.get("min"), row.get("max")
    if known(value) and known(high) and high < 1 and value >= high - 1e-4:
        return f"at its cap of {share(high)}"
    if known(value) and known(low) and low > 0 and value <= low + 1e-4:
        return f"at its floor of {share(low)}"
    return ""


def _checked(study: Study) -> list[float]:
    """Losses of the recommended mixture from the measured check, where that was made at the proxies' own size."""
    proxy = study.part("proxy")
    return [
        value
        for size in (study.verified or {}).get("sizes") or []
        if all(known(proxy.get(key)) and size.get(key) == proxy[key] for key in ("params", "tokens"))
        for value in (size.get("arms") or {}).get("recommended") or []
        if known(value)
    ]


def _losses_table(study: Study) -> Safe:
    best = study.predicted("best_measured")
    measured = {
        "recommended": _checked(study),
        "natural": study.measured("natural"),
        "uniform": study.measured("uniform"),
        "best_measured": [best["measured"]] if known(best.get("measured")) else [],
    }
    labels = {
        "recommended": "Recommended",
        "uniform": "Uniform",
        "natural": "Natural",
        "best_measured": f"Best run ({best.get('run_id', 'unnamed')})",
    }
    body = []
    for key, label in labels.items():
        row = study.predicted(key)
        if not row:
            continue
        values = measured.get(key, [])
        ran = (
            loss(mean(values)) + (f" (mean of {len(values)} runs)" if len(values) > 1 else "") if values else "not run"
        )
        body.append((label, loss(row.get("loss")), f"{loss(row.get('low'))} to {loss(row.get('high'))}", ran))
    if not body:
        return Safe("")
    level, method = study.part("interval").get("level"), study.part("interval").get("method")
    heading = f"{100 * level:.0f}% interval" if known(level) else "Interval"
    columns = [Column("Mixture", numeric=False), Column("Predicted"), Column(heading), Column("Measured")]
    weights = listed([f"{100 * a:.0f}% {text}" for text, a in study.texts.items()])
    return join(
        (
            table("Target loss, nats/token, at proxy scale", columns, body, marked=0),
            paragraph(
                (f"The target is {weights}, by weight. " if weights else "")
                + (f"Intervals: {method}." if method else ""),
                class_="note",
            ),
            paragraph(told, class_="optimism") if (told := told_optimism(study.recommendation)) else Safe(""),
        )
    )
