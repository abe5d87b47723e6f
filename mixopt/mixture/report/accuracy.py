"""How far to trust the prediction: held-out scores, noise, what each domain does, and each text's loss."""

from typing import Any

from mixopt.formatting import UNKNOWN, counted, known, listed, loss, passes, share, signed
from mixopt.mixture import figures
from mixopt.mixture.report.inputs import TARGET, Study
from mixopt.report.html import Column, Safe, chart, details, join, paragraph, section, table, tag
from mixopt.report.svg import Window, bar, between, curve

SHOWN = 24  # panels before the rest are folded away
CLEAR, WEAK = 3.0, 1.0  # signal to noise: from CLEAR on mixtures tell apart well, under WEAK noise is the larger


def _target_name(name: str) -> str:
    return "weighted target" if name == TARGET else name


def held_out(study: Study) -> tuple[Safe, Any]:
    """The scores and the scatter of held-out predictions, with that scatter's figures, one a target."""
    targets = figures.held_out_targets(study)
    drawn = [(name, figure) for name in targets if (figure := figures.held_out(study, name))]
    parts: list[Safe] = [paragraph(_how_scored(study))] if drawn or study.selection.get("scores") else []
    if drawn:
        band = "The grey band is one standard deviation of run-to-run noise. " if known(study.noise().get("sd")) else ""
        caption = (
            "Each point is a run whose mixture the predictor had not seen, at proxy scale. On the dashed line the "
            f"prediction is exact. {band}Click a predictor's name to show or hide it."
        )
        choices = [_target_name(name) for name, _ in drawn]
        parts.append(chart("held-out", caption, choices=choices))
    else:
        parts.append(paragraph("No held-out predictions were kept, so there is no picture of them."))
    parts.append(_scores(study))
    return section("trust", "Predicted against measured", *parts), [figure for _, figure in drawn]


def _how_scored(study: Study) -> str:
    chosen = study.selection
    parts = [
        counted(chosen[key], noun)
        for key, noun in (("runs", "run"), ("mixtures", "distinct mixture"))
        if known(chosen.get(key))
    ]
    over = f" of {' with '.join(parts)}" if parts else ""
    folds = f"in {counted(chosen['folds'], 'fold')}" if known(chosen.get("folds")) else "with mixtures left out"
    text = f"Every predictor was fitted {folds}{over} and judged on the mixtures left out."
    why = chosen.get("why") or (f"{study.predictor}." if study.predictor else "")
    return text + (f" Chosen: {why}" if why else "") + _nested(chosen.get("nested") or {})


def _nested(scores: dict[str, Any]) -> str:
    """What choosing by the same rule scores on mixtures that had no part in the choice."""
    if not known(scores.get("rmse")):
        return ""
    times = {str(name): int(folds) for name, folds in (scores.get("chosen") or {}).items() if known(folds)}
    told = f" Chosen anew without each fold, it scores Spearman {loss(scores.get('spearman'))}, "
    told += f"RMSE {loss(scores['rmse'], 4)}"
    ranked = sorted(times.items(), key=lambda pair: (-pair[1], pair[0]))
    names = listed([f"{name} in {counted(folds, 'fold')}" for name, folds in ranked])
    return f"{told} ({names})." if names else f"{told}."


def _scores(study: Study) -> Safe:
    rows = study.selection.get("scores") or []
    if not rows:
        return paragraph("No predictor has been scored.")
    meaning = paragraph(
        "Spearman: agreement of the two rankings, 1 is perfect. RMSE: typical error of a prediction, with its standard "
        "error. Regret: loss given up by training the predictor's favourite instead of the best run, and by training "
        "its 5 favourites and keeping the best; lower is better. 80% hold: the share of held-out runs inside intervals "
        "of 80% that come from the other folds' errors.",
        class_="note",
    )
    main = _score_table(
        "Held-out scores on the weighted target, at proxy scale", study, [r for r in rows if r["target"] == TARGET]
    )
    texts = [row for row in rows if row["target"] != TARGET]
    more = details(
        "Scores by text", _score_table("Held-out scores by text, at proxy scale", study, texts, by_text=True)
    )
    return join((main, meaning, more if texts else Safe("")))


def _score_table(caption: str, study: Study, rows: list[dict[str, Any]], *, by_text: bool = False) -> Safe:
    names = ("Spearman", "RMSE, nats/token", "Regret of 1", "of 5", "80% hold", "Seconds a fit")
    columns = [
        Column("Predictor", numeric=False),
        *([Column("Text", numeric=False)] if by_text else []),
        *map(Column, names),
    ]
    chosen = study.predictor
    rows = sorted(rows, key=lambda row: (row["target"], row["predictor"] != chosen, row["predictor"]))
    body = []
    for row in rows:
        name = row["predictor"] + (" (chosen)" if row["predictor"] == chosen else "")
        scores = (
            loss(row.get("spearman")),
            loss(row.get("rmse"), 4) + (f" ± {loss(row['rmse_se'], 4)}" if known(row.get("rmse_se")) else ""),
            loss(row.get("regret"), 4),
            loss(row.get("regret5"), 4),
            share(row.get("coverage80")),
            loss(row.get("seconds"), 2),
        )
        body.append((name, *([row["target"]] if by_text else []), *scores))
    marked = next((n for n, row in enumerate(rows) if row["predictor"] == chosen), None)
    return table(caption, columns, body, marked=None if by_text else marked)


def noise(study: Study) -> Safe:
    """How much runs of one mixture differ, against how much mixtures differ."""
    rows = study.selection.get("noise") or []
    if not any(known(row.get("sd")) for row in rows):
        return section(
            "noise",
            "Noise",
            paragraph(
                "No mixture was trained with more than one seed, so run-to-run noise is unknown: small "
                "differences on this page may be chance. Repeat one mixture with other seeds to measure it."
            ),
        )
    rows = sorted(rows, key=lambda row: row["target"] != TARGET)
    columns = [Column("Text", numeric=False)] + [
        Column(name) for name in ("Noise", "Spread of mixtures", "Repeats", "Signal to noise")
    ]
    columns += [Column("Reading", numeric=False)]
    body = [
        (
            _target_name(row["target"]),
            loss(row.get("sd"), 4),
            loss(row.get("signal_sd"), 4),
            str(row.get("repeats") if known(row.get("repeats")) else UNKNOWN),
            passes(row.get("signal_to_noise")),
            _grade(row.get("signal_to_noise")),
        )
        for row in rows
    ]
    text = (
        "Noise is the standard deviation between runs of one mixture with different seeds; spread is the standard "
        f"deviation between mixtures. Their ratio is clear from {CLEAR:.0f} on; below {WEAK:.0f} noise is the larger "
        "and the text's predictions say little."
    )
    return section("noise", "Noise", paragraph(text), table("Noise, nats/token, at proxy scale", columns, body))


def _grade(ratio: Any) -> str:
    if not known(ratio):
        return ""
    return "clear" if ratio >= CLEAR else "weak" if ratio >= WEAK else "lost in noise"


def effects(study: Study) -> Safe:
    """Predicted target loss over each domain's share, most helpful domain first."""
    curves = {d: pairs for d, e in study.part("effects").items() if len(pairs := _pairs(study, d, e)) > 1}
    title = "What each domain does to the target"
    if not curves:
        return section("effects", title, paragraph("The recommendation holds no effect curves."))
    window, cut = _window(study, curves)
    order = sorted(curves, key=lambda d: (-_brings(study, d, curves[d]), d))
    panels = [_panel(study, domain, curves[domain], window) for domain in order]
    text = (
        "Predicted target loss at proxy scale as one domain's share moves from its lowest to its highest allowed "
        "value and the others shrink or grow in proportion. The dot is the recommended share, the dashed line the "
        "natural one; the number with a sign is the change at the lowest share. "
        f"All panels run from {loss(window.low)} (bottom) to {loss(window.high)} nats/token (top), "
        "most helpful domain first." + (" Curves that leave through the top go on rising." if cut else "")
    )
    more = details(f"{len(panels) - SHOWN} more domains", tag("div", *panels[SHOWN:], class_="panels"))
    return section(
        "effects",
        title,
        paragraph(text),
        tag("div", *panels[:SHOWN], class_="panels"),
        more if panels[SHOWN:] else Safe(""),
    )


Pairs = list[tuple[float, float]]


def _pairs(study: Study, domain: str, effect: dict[str, Any]) -> Pairs:
    """The curve's known points by share, with the recommended mixture, through which every curve goes."""
    pairs = zip(effect.get("weight") or [], effect.get("loss") or [], strict=False)
    points = {w: y for w, y in pairs if known(w) and known(y)}
    here, there = study.shares("recommended").get(domain), study.predicted("recommended").get("loss")
    if points and known(here) and known(there) and min(points) <= here <= max(points):
        points[here] = there
    return sorted(points.items())


def _window(study: Study, curves: dict[str, Pairs]) -> tuple[Window, bool]:
    """The losses worth seeing: to twice as far from the best as the worse of natural and uniform is.

    A domain that fills the whole mixture usually gives a loss far above any that matters.
    """
    values = [y for pairs in curves.values() for _, y in pairs]
    rivals = [v for name in ("natural", "uniform", "recommended") if known(v := study.predicted(name).get("loss"))]
    low, high = min(values), max(values)
    reach = low + 2 * (max(rivals, default=high) - low)
    top = reach if low < reach < high else high
    margin = 0.04 * (top - low)
    return Window(low - margin, top + margin), top < high


def _brings(study: Study, domain: str, pairs: Pairs) -> float:
    """What the target would lose, nats/token, were the domain cut to its lowest share."""
    x, y = [w for w, _ in pairs], [v for _, v in pairs]
    here = study.shares("recommended").get(domain)
    return y[0] - (min(y) if here is None else between(x, y, here))


def _panel(study: Study, domain: str, pairs: Pairs, window: Window) -> Safe:
    x, y = [w for w, _ in pairs], [v for _, v in pairs]
    here, natural = study.shares("recommended").get(domain), study.shares("natural").get(domain)
    best, at = min((v, w) for w, v in pairs)
    told = f"lowest {loss(best)} at {share(at)}"
    if here is not None:
        told = f"{signed(y[0] - between(x, y, here))} at {share(x[0])}; {told}"
    return tag(
        "figure",
        tag("b", domain, class_="name"),
        curve(x, y, window, here=here, natural=natural),
        tag("span", tag("span", share(min(x))), tag("span", share(max(x))), class_="ends"),
        tag("figcaption", told),
        class_="panel",
    )


def epochs(study: Study) -> Safe:
    """Passes over each domain's unique tokens in the full run."""
    rows = [row for row in study.domains if known(row.get("epochs"))]
    if not rows:
        return section("epochs", "Epochs", paragraph(_why_no_epochs(study)))
    rows.sort(key=lambda row: (-row["epochs"], row["domain"]))
    top = max(max(row["epochs"] for row in rows), 1.0)
    bars = [
        tag(
            "li",
            tag("span", str(row["domain"]), class_="name"),
            bar(row["epochs"], top=top, line=1.0),
            tag("span", tag("b", passes(row["epochs"])), class_="value"),
        )
        for row in rows
    ]
    repeated = sum(row["epochs"] > 1 for row in rows)
    text = (
        "How often the full run reads each domain's pool of unique tokens. The dashed line is one pass: "
        f"{counted(repeated, 'domain')} of {len(rows)} would be repeated."
    )
    unknown = [str(row["domain"]) for row in study.domains if not known(row.get("epochs"))]
    rest = f" Unknown, for want of a pool or of the full run's tokens: {listed(unknown)}." if unknown else ""
    more = details(f"{counted(len(bars) - SHOWN, 'more domain')}", tag("ul", *bars[SHOWN:], class_="rows"))
    shown = tag("figure", tag("ul", *bars[:SHOWN], class_="rows"), more if bars[SHOWN:] else Safe(""))
    return section("epochs", "Epochs", paragraph(text + rest), shown)


def _why_no_epochs(study: Study) -> str:
    if not known(study.part("full").get("tokens")):
        return "Epochs are unknown: the study does not say how many tokens the full run trains on."
    return "Epochs are unknown: the study gives no pool (unique tokens) for any domain."


def texts(study: Study) -> tuple[Safe, dict[str, Any] | None]:
    """Predicted loss of every validation text, and the figure of it."""
    rows = study.part("by_text")
    title = "Predicted loss by text"
    if not rows:
        return section("texts", title, paragraph("No predictions by text were made.")), None
    weights = study.texts
    rows = dict(sorted(rows.items(), key=lambda pair: -weights.get(pair[0], 0.0)))
    names = ("Weight in target", "Recommended", "Natural", "Uniform", "Against natural", "Against uniform")
    columns = [Column("Text", numeric=False), *map(Column, names)]
    body = [
        (
            text,
            share(weights.get(text, 0.0)),
            tag("b", loss(row.get("recommended"))),
            loss(row.get("natural")),
            loss(row.get("uniform")),
            _difference(row, "natural"),
            _difference(row, "uniform"),
        )
        for text, row in rows.items()
    ]
    figure = figures.by_text(rows)
    worse = [text for text, row in rows.items() if _worse(row)]
    told = (
        f"Predicted to get worse than under the natural mixture: {listed(worse)}."
        if worse
        else "No text is predicted to get worse than under the natural mixture."
    )
    caption = "Predicted change of each text's loss against the natural mixture, at proxy scale; left is better."
    drawn = chart("by-text", caption) if figure else Safe("")
    return section(
        "texts", title, paragraph(told), drawn, table("Loss, nats/token, at proxy scale", columns, body)
    ), figure


def _difference(row: dict[str, Any], other: str) -> str:
    ours, theirs = row.get("recommended"), row.get(other)
    return signed(ours - theirs) if known(ours) and known(theirs) else UNKNOWN


def _worse(row: dict[str, Any]) -> bool:
    ours, theirs = row.get("recommended"), row.get("natural")
    return known(ours) and known(theirs) and ours > theirs
