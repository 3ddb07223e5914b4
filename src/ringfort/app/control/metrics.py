"""The run as Prometheus reads it. Labels have few values, so that no number of clients can swell them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ringfort.app.control.alerts import Alert
from ringfort.app.control.numbers import decided, measured, spending
from ringfort.rounds.record import RoundRecord

__all__ = ["exposition"]

_REPUTATIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_REASONS = 20
"""Reasons of refusals that get a label of their own; the rest is "other"."""
_BUDGET = {
    "epsilon_spent": "Epsilon spent.",
    "epsilon_budget": "Epsilon's budget.",
    "budget_spent_ratio": "Share of the budget spent.",
}


def exposition(records: Sequence[RoundRecord], alerts: Sequence[Alert]) -> bytes:
    """The text that a scrape of /metrics returns."""
    registry = CollectorRegistry()
    registry.register(_Run(records, alerts))
    text: bytes = generate_latest(registry)
    return text


class _Run(Collector):
    def __init__(self, records: Sequence[RoundRecord], alerts: Sequence[Alert]) -> None:
        self._records, self._alerts = records, alerts

    def collect(self) -> Iterable[Metric]:
        last = self._records[-1]
        yield GaugeMetricFamily("fl_round", "Committed rounds.", last.round)
        updates = CounterMetricFamily("fl_updates", "Updates by what became of them.", labels=("decision", "reason"))
        for (decision, reason), count in self._updates().items():
            updates.add_metric((decision, reason), count)
        yield updates
        clients = GaugeMetricFamily("fl_clients", "Known clients by standing.", labels=("standing",))
        for standing, count in last.watch.get("standings", {}).items():
            clients.add_metric((standing,), count)
        yield clients
        yield self._reputations(last)
        told = CounterMetricFamily("fl_anomaly_alerts", "Alerts by kind.", labels=("kind",))
        for kind, count in Counter(alert.kind for alert in self._alerts).items():
            told.add_metric((kind,), count)
        yield told
        for name, spent in spending(last).items():
            yield GaugeMetricFamily(f"fl_dp_{name}", _BUDGET[name], spent)
        lost = sum(len(record.aborts) for record in self._records)
        yield CounterMetricFamily("fl_secagg_aborts", "Attempts at sealed rounds that ended.", lost)
        metrics = GaugeMetricFamily("fl_model", "The server's measurements of the model.", labels=("metric",))
        for name, value in measured(last).items():
            metrics.add_metric((name,), value)
        yield metrics

    def _updates(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for record in self._records:
            found.update({(decision, ""): count for decision, count in decided(record).items()})
            found.update(("refused", refusal.reason) for refusal in record.refusals)
        kept = {key for key, _ in found.most_common(_REASONS)}
        out: Counter[tuple[str, str]] = Counter()
        for key, count in found.items():
            out[key if key in kept or not key[1] else (key[0], "other")] += count
        return out

    def _reputations(self, last: RoundRecord) -> Metric:
        values = sorted(one["reputation"] for one in last.watch.get("clients", {}).values())
        buckets = [(str(edge), float(sum(value <= edge for value in values))) for edge in _REPUTATIONS]
        return HistogramMetricFamily(
            "fl_reputation",
            "Reputations of the last cohort.",
            buckets=[*buckets, ("+Inf", float(len(values)))],
            sum_value=float(sum(values)),
        )
