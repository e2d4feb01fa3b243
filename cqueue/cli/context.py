"""What the command line is told once for all: `config.toml` of whoever types.

It is in `$XDG_CONFIG_HOME/cqueue`, or `~/.config/cqueue`. Each key has an option of the same name, which
counts more, and so does its variable. A key that there is not is refused by name. It is not the file of
a node's settings, which `--config` names.
"""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path
from typing import Any, Final

from cqueue.cli import exits
from cqueue.errors import Unusable

KINDS: Final[dict[str, tuple[type, ...]]] = {
    "node": (str, list),
    "token": (str,),
    "token_file": (str,),
    "ca": (str,),
    "cert": (str,),
    "key": (str,),
    "retry": (int, float),
}


def path() -> Path:
    """Where the file is, or would be."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cqueue" / "config.toml"


def told(name: str) -> Any:
    """What the file says for a key of `KINDS`; None: nothing.

    Raises:
        Unusable: there is such a file, and it cannot be used.
    """
    return _read(path()).get(name)


@cache
def _read(file: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most have no such file

    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            found = tomllib.load(opened)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise _wrong(file, str(error)) from error
    for key, value in found.items():
        if key not in KINDS:
            raise _wrong(file, f"there is no {key!r}; the keys are {', '.join(KINDS)}")
        is_text = isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        if not isinstance(value, KINDS[key]) or isinstance(value, bool) or (key != "retry" and not is_text):
            expected = "a number" if key == "retry" else "a string, or a list of them" if key == "node" else "a string"
            raise _wrong(file, f"{key}: expected {expected}")
    if "token" in found and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _wrong(file, "others may read the token in it: chmod 600 it, or use token_file")
    return found


def _wrong(file: Path, why: str) -> Unusable:
    return Unusable(f"{file}: {why}", exit_code=exits.USAGE)
