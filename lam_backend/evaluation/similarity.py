"""Part ``sts``: STS-B with intervals, STS12–15, beside the peers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.bootstrap import Floats, interval, resampled
from lam_backend.evaluation.datasets import STS_YEARS, read_sts_year, read_stsb
from lam_backend.evaluation.encoders import Encoder
from lam_backend.evaluation.report import Part, Table, correlation
from lam_backend.evaluation.sts import Pairs, correlations, cosines


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One encoder on one split: Pearson and Spearman, and their resamples."""

    values: tuple[float, float]
    resamples: tuple[Floats, Floats]


def measure_similarity(
    bench: Bench, *, splits: tuple[str, ...] = ("dev", "test"), years: tuple[int, ...] = STS_YEARS
) -> Part:
    """Pearson and Spearman of cosines; the intervals hold 95 % of 10,000 resamples of the pairs."""
    resamples = 200 if bench.quick else 10_000
    part = Part("sts", "Semantic textual similarity")
    for split in splits:
        _add_split(part, bench, split, read_stsb(bench.data, split), resamples)
    if years:
        _add_years(part, bench, years)
    part.notes += [
        f"Intervals hold 95 % of {resamples} bootstrap resamples of the pairs, seed {bench.seed}.",
        "A difference is LAM minus the peer on the same resamples: it is certain when its interval leaves out 0.",
        *bench.absent,
    ]
    return part


def _add_split(part: Part, bench: Bench, split: str, pairs: Pairs, resamples: int) -> None:
    outcomes = {encoder.name: _outcome(encoder, pairs, resamples, bench.seed) for encoder in bench.encoders}
    ours = outcomes[bench.lam.name]
    rows = []
    figures = {}
    for name, outcome in outcomes.items():
        row, held = [name], {}
        for kind, value, drawn, our_drawn in zip(
            ("pearson", "spearman"), outcome.values, outcome.resamples, ours.resamples, strict=True
        ):
            low, high = interval(drawn)
            row.append(f"{correlation(value)} ({correlation(low)}–{correlation(high)})")
            held[kind] = {"value": value, "low": low, "high": high}
            if outcome is not ours:
                below, above = interval(our_drawn - drawn)
                held[kind] |= {"lam_minus_peer_low": below, "lam_minus_peer_high": above}
                row.append(f"{below:+.4f} … {above:+.4f}")
            else:
                row.append("")
        rows.append(row)
        figures[name] = held
    columns = ("", "Pearson (95 %)", "LAM minus it", "Spearman (95 %)", "LAM minus it")
    part.tables.append(Table(f"STS-B {split}, {len(pairs.score)} pairs", columns, rows))
    part.figures[f"stsb_{split}"] = figures


def _outcome(encoder: Encoder, pairs: Pairs, resamples: int, seed: int) -> _Outcome:
    similarity = cosines(encoder.encode, pairs)
    return _Outcome(correlations(similarity, pairs.score), resampled(similarity, pairs.score, resamples, seed))


def _add_years(part: Part, bench: Bench, years: tuple[int, ...]) -> None:
    sets = {f"STS{year}": read_sts_year(bench.data, year) for year in years}
    found = {}
    for encoder in bench.encoders:
        values = {name: correlations(cosines(encoder.encode, pairs), pairs.score)[1] for name, pairs in sets.items()}
        found[encoder.name] = {**values, "mean": float(np.mean(list(values.values())))}
    rows = [[name, *(correlation(value) for value in values.values())] for name, values in found.items()]
    part.tables.append(Table("STS12–15, Spearman over all pairs of a year", ("", *sets, "mean"), rows))
    part.figures["sts12_15"] = found
