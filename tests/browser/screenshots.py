"""`python -m tests.browser.screenshots`: pictures of the page at /ui for the docs, of every view.

Three nodes are started and given work that looks like work, for a minute, so that the charts have
something to show. Each view is taken at two widths, light and dark, as PNGs of 256 colours.
It is no test: it asserts nothing, and somebody has to look at what it makes.
"""

from __future__ import annotations

import io
import math
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.cluster.client import Unreachable
from tests.cluster.harness import Cluster, Node, Ports

WIDTHS: Final = {1440: 900, 390: 844}
"""Widths of the pictures, and the least height of each."""
HEIGHT_MAX: Final = 1_500
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
COLOURS: Final = 256
VIVID_MIN: Final = 70
"""Between the largest and the least part of a colour."""
LOAD_S: Final = 75
PER_SECOND: Final = 24

KINDS: Final[dict[str, tuple[str, Callable[[random.Random], Any]]]] = {
    "mail": (
        "receipt",
        lambda dice: {
            "to": f"{dice.choice(['ada', 'grace', 'alan'])}@example.org",
            "order": dice.randint(1_000, 9_999),
        },
    ),
    "thumbnails": (
        "resize",
        lambda dice: {"image": f"s3://photos/{dice.randint(1, 99_999):05}.jpg", "width": dice.choice([320, 640, 1280])},
    ),
    "webhooks": (
        "deliver",
        lambda dice: {"url": "https://hooks.example.com/in", "event": dice.choice(["order.paid", "order.shipped"])},
    ),
    "search-index": ("reindex", lambda dice: {"document": dice.randint(1, 1_000_000)}),
}
"""Queues, the type of their jobs, and what these carry."""
ERRORS: Final = (
    "connection refused: hooks.example.com:443",
    "HTTP 503 from hooks.example.com: upstream is overloaded",
    "timed out after 30 s waiting for a response",
)


@dataclass
class Work:
    """Producers and consumers for a while. done: they stop."""

    cluster: Cluster
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call to some node; what it answers, or None."""
        with suppress(Unreachable):
            answer = random.choice(self.cluster.nodes).ask(method, path, body)  # noqa: S311 - no secret
            return answer.body if answer.status < 300 else None
        return None

    def produce(self) -> None:
        """A load that goes up and down."""
        dice = random.Random(7)  # noqa: S311 - no secret
        begun_s = time.monotonic()
        while not self.done.wait(1 / 4):
            swing = 1 + 0.55 * math.sin((time.monotonic() - begun_s) / 9) + dice.uniform(-0.15, 0.15)
            jobs = [self.job(dice) for _ in range(round(PER_SECOND / 4 * swing))]
            self.ask("PUT", "/jobs/enqueue", jobs)

    def job(self, dice: random.Random) -> dict[str, Any]:
        """One job of some queue."""
        [queue] = dice.choices(list(KINDS), weights=[5, 4, 3, 2])
        kind, payload = KINDS[queue]
        return {"queue": queue, "type": kind, "payload": payload(dice), "tags": {"region": dice.choice(["eu", "us"])}}

    def consume(self, number: int) -> None:
        """One consumer; it is slower than the peak of the load, and some of what it does fails."""
        dice = random.Random(number)  # noqa: S311 - no secret
        node = self.cluster.nodes[number % len(self.cluster.nodes)]
        while not self.done.is_set():
            with suppress(Unreachable):
                body = {"queues": list(KINDS), "wait": 2}
                answer = node.ask("POST", "/jobs/dequeue", body, {"Consumer-Id": f"worker-{number}"})
                if answer.status == 200:
                    self.run(node, answer.body, dice)

    def run(self, node: Node, job: dict[str, Any], dice: random.Random) -> None:
        """Run a job for a while, and say how it went."""
        self.done.wait(dice.uniform(0.05, 0.55))
        said: dict[str, Any] = {"lease_token": job["lease_token"]}
        if job["queue"] == "webhooks" and dice.random() < 0.3:
            node.ask("POST", f"/jobs/{job['id']}/fail", said | {"error": dice.choice(ERRORS)})
        else:
            node.ask("POST", f"/jobs/{job['id']}/conclude", said | {"result": {"ok": True}})

    def wait(self, number: int) -> None:
        """A consumer that has nothing to do."""
        while not self.done.is_set():
            self.cluster.nodes[number % 3].ask("POST", "/jobs/dequeue", {"queue": "nightly", "wait": 3})


@contextmanager
def demo(directory: Path) -> Iterator[tuple[Cluster, Work]]:
    """A cluster at work."""
    with ExitStack() as stack:
        ports = Ports()
        stack.callback(ports.close)
        cluster = Cluster(ports, directory, 3, durable=True, settings={})
        stack.callback(cluster.close)
        cluster.start()
        cluster.wait_ready()
        node = cluster.leader()
        node.call(
            "PATCH",
            "/queues/webhooks",
            {"max_attempts": 3, "max_in_progress": 6, "backoff": {"kind": "exponential", "seconds": 1}},
        )
        node.call("PATCH", "/queues/mail", {"max_depth": 50_000, "priorities": {"TIME_CRITICAL": 0, "receipt": 100}})
        node.call("PATCH", "/queues/legacy-import", {"paused": True})
        node.call(
            "PUT",
            "/jobs/enqueue",
            [{"queue": "legacy-import", "type": "row", "payload": {"row": row}} for row in range(240)],
        )
        node.call(
            "PUT",
            "/jobs/enqueue",
            [{"queue": "nightly", "type": "report", "delay_seconds": 3_600 * hour} for hour in range(1, 9)],
        )
        work = Work(cluster)
        hands = [threading.Thread(target=work.produce)]
        hands += [threading.Thread(target=work.consume, args=(number,)) for number in range(8)]
        hands += [threading.Thread(target=work.wait, args=(number,)) for number in range(3)]
        for hand in hands:
            hand.start()
        try:
            yield cluster, work
        finally:
            work.done.set()
            for hand in hands:
                hand.join()


def dead_job(node: Node) -> int:
    """A job whose attempts are used up."""
    found = node.call("GET", "/jobs?status=DEAD&queue=webhooks&limit=1").body["jobs"]
    return int(found[0]["id"]) if found else 1


def views(page: Page, node: Node) -> Iterator[str]:
    """Show one view after another; their names."""

    def at(place: str, sign: str) -> None:
        page.evaluate("place => { location.hash = place; }", place)
        page.wait_for_selector(sign)
        page.wait_for_timeout(900)

    at("#/", ".tile-value")
    yield "overview"
    at("#/queues", "tbody tr")
    yield "queues"
    at("#/queues/webhooks", ".facts")
    yield "queue"
    at("#/jobs", "tbody tr")
    yield "jobs"
    at(f"#/jobs/{dead_job(node)}", ".timeline")
    yield "job"
    at("#/cluster", "tbody tr")
    yield "cluster"
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("button", name="Enqueue").first.click()
    page.get_by_label("Payload").fill('{\n  "to": "ada@example.org",\n  "order": 4711\n}')
    page.wait_for_timeout(300)
    yield "enqueue"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")


def save(picture: bytes, path: Path) -> int:
    """Write it with few colours; its size in bytes.

    Half of them are those there is most of, as they are. The others stand for the rest, half of them for what is
    vivid: else the dot of a status would get the colour of the letters around it.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    by_frequency = [colour for _, colour in sorted(image.getcolors(image.width * image.height), reverse=True)]
    often, rest = by_frequency[: COLOURS // 2], by_frequency[COLOURS // 2 :]
    vivid = [colour for colour in rest if max(colour) - min(colour) > VIVID_MIN]
    pale = [colour for colour in rest if max(colour) - min(colour) <= VIVID_MIN]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*chain(*often), *stand_ins(vivid), *stand_ins(pale)])
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def stand_ins(colours: list[tuple[int, int, int]]) -> list[int]:
    """A quarter of the palette for these colours, each of which counts once."""
    if not colours:
        return []
    each_once = Image.new("RGB", (len(colours), 1))
    each_once.putdata(colours)
    return each_once.quantize(COLOURS // 4).getpalette() or []


@click.command()
@click.option("--directory", default="docs/images", show_default=True, type=click.Path(path_type=Path))
@click.option("--seconds", default=LOAD_S, show_default=True, help="How long the work goes on before the pictures.")
def main(directory: Path, seconds: int) -> None:
    """Take pictures of all views."""
    directory.mkdir(parents=True, exist_ok=True)
    total = 0
    with (
        TemporaryDirectory() as scratch,
        demo(Path(scratch)) as (cluster, _),
        sync_playwright() as playwright,
    ):
        node = cluster.nodes[0]
        browser = playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        page.on("console", lambda message: click.echo(f"console: {message.text}", err=True))
        page.on("pageerror", lambda error: click.echo(f"error: {error}", err=True))
        page.goto(f"{node.url}/ui")
        page.wait_for_selector(".tile-value")
        page.wait_for_timeout(seconds * 1000)
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                for name in views(page, node):
                    tall = min(HEIGHT_MAX, page.evaluate("document.documentElement.scrollHeight"))
                    whole = {"x": 0, "y": 0, "width": width, "height": max(height, tall)}
                    picture = page.screenshot(full_page=name != "enqueue", clip=whole if name != "enqueue" else None)
                    total += save(picture, directory / f"ui-{name}-{width}-{theme}.png")
        browser.close()
    click.echo(f"{total:,} bytes in {directory}")


if __name__ == "__main__":
    main()
