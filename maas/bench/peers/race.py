"""Rounds in which every library does the same work in turn, and the ratios that come of it."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from maas.bench.corpus import questions, take_texts
from maas.bench.measure import latency_ms
from maas.bench.peers.install import PEERS, install_peers, python_of
from maas.bench.peers.process import PeerProcess
from maas.errors import UnavailableError

OWN = "maas"
CALLS = ("store", "batch", "recall")


class RaceSizes(BaseModel):
    """What each library does in each round."""

    model_config = ConfigDict(frozen=True)

    rounds: int = 5
    singles: int = 40
    batch: int = 200
    recalls: int = 40

    @classmethod
    def quick(cls) -> RaceSizes:
        """Just enough to see that it works; the figures mean nothing."""
        return cls(rounds=2, singles=3, batch=10, recalls=3)


def bench_peers(
    environment: Path,
    sizes: RaceSizes,
    docs: Path | None,
    say: Callable[[str], None],
    report: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Run maas and every installable peer on the same turns, interleaved; absent ones are named with the reason.

    Args:
        environment: the peers' virtual environment; made if it is missing.
    """
    missing = install_peers(environment, say)
    pythons = {OWN: Path(sys.executable)} | {name: python_of(environment) for name in PEERS if name not in missing}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maas-peers-")))
        racing: dict[str, PeerProcess] = {}
        for name, python in pythons.items():
            home = folder / name
            home.mkdir()
            try:
                racing[name] = stack.enter_context(PeerProcess(name, python, home))
            except UnavailableError as error:
                if name == OWN:
                    raise
                missing[name] = error.detail
        samples = _race(racing, sizes, docs, report, missing)
        about = {name: process.about for name, process in racing.items()}
    return {"peers": {"sizes": sizes.model_dump(), **_summary(samples, about, missing)}}


def _race(
    racing: dict[str, PeerProcess],
    sizes: RaceSizes,
    docs: Path | None,
    report: Callable[[str, int, int], None],
    missing: dict[str, str],
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Answers by library and call; who begins changes from round to round."""
    texts = take_texts(sizes.rounds * (sizes.singles + sizes.batch), docs)
    asked = questions(sizes.rounds * sizes.recalls)
    samples: dict[str, dict[str, list[dict[str, Any]]]] = {name: {call: [] for call in CALLS} for name in racing}
    names = list(racing)
    # One call each outside the measurement: first calls allocate, compile and open.
    for name in names:
        racing[name].ask("store", ["Warming up, nothing to remember."])
        racing[name].ask("recall", ["Is anybody there?"])
    for number in range(sizes.rounds):
        start = number * (sizes.singles + sizes.batch)
        work = {
            "store": texts[start : start + sizes.singles],
            "batch": texts[start + sizes.singles : start + sizes.singles + sizes.batch],
            "recall": asked[number * sizes.recalls : (number + 1) * sizes.recalls],
        }
        order = names[number % len(names) :] + names[: number % len(names)]
        for call in CALLS:
            for name in order:
                if name in missing:
                    continue
                try:
                    samples[name][call].append(racing[name].ask(call, work[call]))
                except UnavailableError as error:
                    if name == OWN:
                        raise
                    missing[name] = error.detail
                    samples.pop(name)
        report("round", number + 1, sizes.rounds)
    return samples


def _summary(
    samples: dict[str, dict[str, list[dict[str, Any]]]], about: dict[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name, calls in samples.items():
        results[name] = {"version": about[name]["version"], "weights": about[name]["weights"]}
        for call, rounds in calls.items():
            seconds = [second for answer in rounds for second in answer["seconds"]]
            encode = [second for answer in rounds for second in answer["encode"]]
            overhead = [whole - part for whole, part in zip(seconds, encode, strict=True)]
            results[name][call] = {
                "calls": len(seconds),
                "latency_ms": latency_ms(seconds),
                "encode_ms": latency_ms(encode),
                "overhead_ms": latency_ms(overhead),
            }
    ratios = {
        name: {
            f"{call}_{part}": _ratio(results[name][call], results[OWN][call], f"{part}_ms")
            for call in CALLS
            for part in ("latency", "overhead")
        }
        for name in results
        if name != OWN
    }
    return {
        "results": results,
        "ratios": ratios,
        "not_measured": missing,
        "same_weights": len({result["weights"] for result in results.values()}) == 1,
        "geometric_mean_latency": {
            name: round(statistics.geometric_mean([values[f"{call}_latency"] for call in CALLS]), 2)
            for name, values in ratios.items()
        },
    }


def _ratio(peer: dict[str, Any], own: dict[str, Any], part: str) -> float:
    """Medians, peer over maas: above 1, the peer takes longer."""
    ours = own[part]["p50"]
    return round(peer[part]["p50"] / ours, 2) if ours > 0 else 0.0
