"""`python -m benchmarks.auth`: what it costs that callers are asked who they are.

Two nodes stand side by side, one that asks nobody and one that takes tokens, and slices of the same
load go to them in turn, one job at a time. What counts is the ratio of neighbours: what slows the
machine down for seconds slows both.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import click
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks import load, scale, servers, workload
from benchmarks.scale import Figure
from cqueue.web.auth import tokens

RATIO_MIN: Final = 0.9
CLIENTS: Final = (1, 16, 64)
_ISSUER: Final = "https://id.example.org"
_AUDIENCE: Final = "cqueue"
_ROLES: Final = ("producer", "consumer")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--repetitions", default=9, show_default=True, type=click.IntRange(1, 100), help="Slices of each kind.")
@click.option("--slice-s", default=1.0, show_default=True, type=click.FloatRange(0.01, 60), help="How long one is.")
@scale.data_dir_option
@scale.options
def main(*, repetitions: int, slice_s: float, directory: Path, file: Path, check: bool) -> None:
    """Load a node that takes tokens and one that asks nobody, in turn."""
    about = f"Whole lives of single jobs on a single node in memory, {repetitions} slices of {slice_s:g} s in turn."
    scale.conclude("auth", about, lambda: _measure(repetitions, slice_s, directory), file, check=check)


def _measure(repetitions: int, slice_s: float, directory: Path) -> list[Figure]:
    figures = []
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(dir=directory)))
        arguments, shown = _callers(place)
        [open_node] = stack.enter_context(servers.running(servers.start_nodes(1, None)))
        [asking_node] = stack.enter_context(servers.running(servers.start_nodes(1, None, more=arguments)))
        with click.progressbar(length=len(shown) * len(CLIENTS) * repetitions, label="loading", file=sys.stderr) as bar:
            for who, token in shown.items():
                for clients in CLIENTS:
                    ratios = []
                    for _ in range(repetitions):
                        asked, free = (
                            load.run([node.address], clients, slice_s, workload.lifecycle_one_by_one(token)).rate_per_s
                            for node in (asking_node, open_node)
                        )
                        ratios.append(asked / free)
                        bar.update(1)
                    what = f"{who}, {clients} client{'s' if clients > 1 else ''}: asked / not asked"
                    figures.append(scale.at_least(what, median(ratios), "", RATIO_MIN))
    return figures


def _callers(place: Path) -> tuple[list[str], dict[str, str]]:
    """What the node is started with, and the callers' tokens; a node that asks nobody is shown the same."""
    shown = {}
    for who, queues in (("a token", ["*"]), ("a token for some queues", ["def*", "mail-*"])):
        shown[who], body = tokens.new(who, list(_ROLES), queues, None)
        tokens.append(place / "tokens.toml", body)
    key = ec.generate_private_key(ec.SECP256R1())
    public = {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "key"}
    (place / "jwks.json").write_text(json.dumps({"keys": [public]}))
    claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "a JWT", "exp": int(time.time()) + 86_400}
    claims |= {"cqueue_roles": list(_ROLES), "cqueue_queues": "*"}
    shown["a JWT"] = jwt.encode(claims, key, "ES256", headers={"kid": "key"})
    arguments = ["--tokens", str(place / "tokens.toml"), "--jwt-jwks", str(place / "jwks.json")]
    return [*arguments, "--jwt-issuer", _ISSUER, "--jwt-audience", _AUDIENCE], shown


if __name__ == "__main__":
    main()
