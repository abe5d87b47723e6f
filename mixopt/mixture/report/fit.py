"""What a fit to a table of runs recommends: no pools and no full run are known, only shares and losses."""

from mixopt.formatting import UNKNOWN, against, digits_for, known, listed, loss, mixture, scale, share, share_cell
from mixopt.mixture.report.inputs import Study
from mixopt.mixture.report.overview import SHOWN
from mixopt.mixture.summary import told_optimism
from mixopt.report.html import Column, Safe, details, join, paragraph, section, table, tag
from mixopt.report.svg import compared_bars


def headline(study: Study) -> Safe:
    """The mixture predicted best, and how it compares with the best one measured."""
    best, run = study.predicted("recommended"), study.predicted("best_measured")
    bounded = known(best.get("low")) and known(best.get("high"))
    digits = digits_for(best["high"] - best["low"] if bounded else None)
    told = f"Predicted target loss {loss(best.get('loss'), digits)} nats/token"
    if bounded:
        level = f"{100 * study.part('interval')['level']:.0f}% interval"
        told += f" ({level} {loss(best['low'], digits)} to {loss(best['high'], digits)})"
    told += (
        f", {against(best['loss'], run['loss'], digits)} what is predicted for the best measured mixture "
        f"({run.get('run_id')}, measured {loss(run.get('measured'), digits)})."
    )
    size = scale(study.part("proxy"))
    weights = listed([f"{100 * weight:.3g}% {text}" for text, weight in study.texts.items()])
    return tag(
        "section",
        tag("h1", f"Fit to {study.name}: {study.predictor}"),
        paragraph(f"Predicted best: {mixture(study.shares('recommended')) or 'nothing'}.", class_="headline"),
        paragraph(f"{told} {told_optimism(study.recommendation)}".strip(), class_="prediction"),
        paragraph(
            f"The target is {weights}. Losses are at the scale of the runs{f', {size}' if size else ''}; what a larger "
            "run would reach is not predicted.",
            class_="scope",
        ),
        id="recommendation",
    )


def mixtures(study: Study) -> Safe:
    """Bars and table of the predicted best, the best measured and the uniform mixture, and their losses."""
    rows = study.domains
    top = max(v for row in rows for k in ("recommended", "best_measured", "uniform") if known(v := row.get(k)))
    bars = [
        tag(
            "li",
            tag("span", str(row["domain"]), class_="name"),
            compared_bars(row["recommended"], row.get("best_measured"), row.get("uniform"), top=top or 1.0),
            tag(
                "span",
                tag("b", share(row["recommended"])),
                f" run {share(row.get('best_measured'))}",
                class_="value",
            ),
        )
        for row in rows
    ]
    legend = tag(
        "figcaption",
        Safe(
            '<span class="key recommended"></span>predicted best <span class="key natural"></span>best measured '
            '<span class="key uniform"></span>uniform. '
        ),
        "Share of training tokens.",
    )
    more = details(f"{len(bars) - SHOWN} smaller domains", tag("ul", *bars[SHOWN:], class_="rows"))
    drawn = tag("figure", legend, tag("ul", *bars[:SHOWN], class_="rows"), more if bars[SHOWN:] else Safe(""))
    columns = [Column("Domain", numeric=False), Column("Predicted best"), Column("Best measured"), Column("Uniform")]
    body = (
        (
            str(row["domain"]),
            tag("b", share_cell(row["recommended"])),
            share_cell(row.get("best_measured")),
            share_cell(row.get("uniform")),
        )
        for row in rows
    )
    return section("mixture", "The mixtures", drawn, table("Shares of training tokens", columns, body), _losses(study))


def _losses(study: Study) -> Safe:
    labels = {"recommended": "Predicted best", "best_measured": "Best measured", "uniform": "Uniform"}
    body = []
    for key, label in labels.items():
        row = study.predicted(key)
        bounded = known(row.get("low")) and known(row.get("high"))
        interval = f"{loss(row['low'])} to {loss(row['high'])}" if bounded else UNKNOWN
        body.append((label, loss(row.get("loss")), interval, loss(row.get("measured"))))
    level = study.part("interval")
    columns = [Column("Mixture", numeric=False), Column("Predicted")]
    columns += [Column(f"{100 * level['level']:.0f}% interval"), Column("Measured")]
    note = paragraph(f"Intervals: {level.get('method')}.", class_="note")
    return join((table("Target loss, nats/token, at the scale of the runs", columns, body, marked=0), note))
