"""`cqueue tls`: a certificate authority for development."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Final

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.errors import Unusable

DAYS: Final = 365
"""How long the CA and its certificates are valid."""
HOSTS_DEFAULT: Final = ("localhost,127.0.0.1,::1",)

_NAME: Final = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE
)
_CA: Final = "ca"
_SECRET_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644


@click.group()
def tls() -> None:
    """Certificates for development."""


def _hosts(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    """{the name of its files: the hosts of a certificate}."""
    found: dict[str, list[str]] = {}
    for value in values:
        hosts = [host.strip() for host in value.split(",") if host.strip()]
        for host in hosts:
            if not _is_host(host):
                raise click.BadParameter(f"{host!r} is neither a name nor an address")
        name = re.sub(r"[^A-Za-z0-9.-]", "_", hosts[0]) if hosts else _CA
        if name == _CA or name in found:
            raise click.BadParameter(f"{value!r} names no host, or files that another certificate has")
        found[name] = hosts
    return found


@tls.command(
    "dev-ca",
    cls=Command,
    examples=[
        ("cqueue tls dev-ca certs", "for this machine"),
        ("cqueue tls dev-ca certs --host node1,10.0.0.1 --host node2,10.0.0.2", "for two"),
    ],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE),
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--host",
    "certificates",
    multiple=True,
    default=HOSTS_DEFAULT,
    show_default=True,
    callback=_hosts,
    metavar="HOST,...",
    help="Names and addresses of one certificate; may be given more than once, for more certificates.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def dev_ca(directory: Path, certificates: dict[str, list[str]], *, force: bool) -> None:
    """Make a certificate authority in DIR, and certificates that it signs. For development only.

    Each certificate is good for a server and for a client. Whoever has ca.key can pose as anybody to
    those who trust ca.pem: trust it in the programs you test, not in a browser or a system.
    """
    from cqueue.authority import Authority  # noqa: PLC0415 - only this command loads it

    authority = Authority("cqueue development CA", days=DAYS)
    made = {_CA: authority.issued, **{name: authority.issue(hosts, days=DAYS) for name, hosts in certificates.items()}}
    files: list[tuple[Path, bytes, int]] = []
    for name, issued in made.items():
        files.append((directory / f"{name}.key", issued.key, _SECRET_MODE))
        files.append((directory / f"{name}.pem", issued.cert, _PUBLIC_MODE))
    there = [path for path, _, _ in files if os.path.lexists(path)]
    if there and not force:
        raise Unusable(f"{there[0]}: is there already; --force replaces it, and what it was used for trusts it no more")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content, mode in files:
            _write(path, content, mode)
    except OSError as error:
        raise Unusable(f"{error.filename or directory}: cannot be written: {error.strerror}") from error
    _tell(directory, certificates)


def _write(path: Path, content: bytes, mode: int) -> None:
    # A new file always: one that was there may be open to others, or be a link to elsewhere.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _tell(directory: Path, certificates: dict[str, list[str]]) -> None:
    ca = directory / f"{_CA}.pem"
    for name, (host, *_) in certificates.items():
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"cqueue serve --tls-cert {cert} --tls-key {key}")
        click.echo(f"curl --cacert {ca} https://{shown}:3000/jobs/stats")
        click.echo(f"cqueue cluster status --ca {ca} --node https://{shown}:3000")
    click.echo(f"for development only: keep {directory / _CA}.key to yourself, and trust {ca} nowhere else", err=True)


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None
    return True
