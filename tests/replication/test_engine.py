"""The pinned engine: PySyncObj is the version the mends were written for, and never pickles."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

import pysyncobj
import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
import pysyncobj.transport
import pytest
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.poller import Poller
from pysyncobj.transport import Transport

from cqueue.replication.consensus import Consensus
from cqueue.replication.poller import LoopPoller
from cqueue.replication.raft import PYSYNCOBJ_VERSION
from cqueue.replication.transport import TcpTransport

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "cqueue").rglob("*.py"))
MENDS = sorted((ROOT / "cqueue" / "replication").glob("*.py"))
PICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal"}


def trees(paths: list[Path]) -> Iterator[tuple[Path, ast.AST]]:
    """Each node of each module's syntax."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, node


def names_in(code: CodeType) -> set[str]:
    """The names that a piece of code uses, and those that it uses within."""
    return set(code.co_names).union(*(names_in(part) for part in code.co_consts if isinstance(part, CodeType)))


def names_of_engine() -> set[str]:
    """Methods of `SyncObj`, and every attribute that they use or set."""
    names = set(vars(SyncObj))
    for member in vars(SyncObj).values():
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function):
            names |= names_in(function.__code__)
    return names


def test_the_pinned_version_is_the_one_that_is_mended() -> None:
    """A newer one may close holes in its own way, and open others: the mends are gone through first."""
    assert PYSYNCOBJ_VERSION == pysyncobj.version.VERSION == version("pysyncobj")
    assert f'"pysyncobj=={PYSYNCOBJ_VERSION}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("run.txt", "dev.txt"):
        pins = re.findall(
            r"^pysyncobj==(\S+)", (ROOT / "requirements" / name).read_text(encoding="utf-8"), re.MULTILINE
        )
        assert pins == [PYSYNCOBJ_VERSION], name


def test_every_private_name_that_is_used_is_one_of_the_engine() -> None:
    """`_SyncObj__raftTerm`, misspelled or renamed, would be a mend of nothing."""
    used = {
        (path.name, name)
        for path, node in trees(MENDS)
        for name in (
            [node.attr]
            if isinstance(node, ast.Attribute)
            else [node.id]
            if isinstance(node, ast.Name)
            else [node.name]
            if isinstance(node, ast.FunctionDef)
            else []
        )
        if name.startswith("_SyncObj__")
    }
    assert len(used) > 50
    engine = names_of_engine()
    assert {(file, name) for file, name in used if name not in engine} == set()


def overrides() -> Iterator[Any]:
    """(name, our function, the engine's), for each method that takes the place of one."""
    for ours, theirs in ((Consensus, SyncObj), (TcpTransport, Transport), (LoopPoller, Poller)):
        for kind in ours.__mro__[: ours.__mro__.index(theirs)]:
            for name, member in vars(kind).items():
                original = getattr(theirs, name, None)
                if inspect.isfunction(member) and inspect.isfunction(original) and not name.startswith("__"):
                    yield pytest.param(member, original, id=f"{kind.__name__}.{name}")


@pytest.mark.parametrize(("ours", "theirs"), list(overrides()))
def test_what_takes_a_methods_place_takes_its_arguments(ours: Any, theirs: Any) -> None:
    """The engine calls it in the way it calls its own."""
    expected = inspect.signature(theirs).parameters.values()
    found = inspect.signature(ours).parameters.values()
    assert [(p.kind, p.default) for p in found][: len(expected)] == [(p.kind, p.default) for p in expected]


def test_no_method_in_the_engines_spelling_is_one_it_does_not_have() -> None:
    """CamelCase is the engine's: a method in it is an override, and one of nothing is a mistake."""
    for ours, theirs in ((Consensus, SyncObj), (TcpTransport, Transport), (LoopPoller, Poller)):
        for kind in ours.__mro__[: ours.__mro__.index(theirs)]:
            spelled = {name for name in vars(kind) if re.fullmatch(r"_?[a-z]+[A-Z]\w*", name)}
            assert {name for name in spelled if not hasattr(theirs, name)} == set(), kind


def test_every_option_that_is_set_is_one_the_engine_has() -> None:
    """It takes any, and says nothing of those it does not know."""
    known = vars(SyncObjConf())
    calls = [
        node
        for _, node in trees(MENDS)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SyncObjConf"
    ]
    options = {keyword.arg for call in calls for keyword in call.keywords}
    assert options
    assert options <= set(known)


def test_what_is_replaced_in_the_engines_module_is_what_it_uses() -> None:
    """The journal, the poller and the clock are given to it by its own names for them."""
    names = names_in(SyncObj.__init__.__code__) | names_in(SyncObj._onTick.__code__)
    assert {"createJournal", "createPoller", "monotonicTime"} <= names
    assert {"createJournal", "createPoller", "monotonicTime", "random"} <= set(vars(pysyncobj.syncobj))


def test_no_module_pickles() -> None:
    """Pickle runs what it reads: neither the wire nor the disk is read with it."""
    imported = {
        (path.relative_to(ROOT), alias.name)
        for path, node in trees(SOURCES)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in [*node.names, ast.alias(getattr(node, "module", None) or "")]
    }
    assert {(path, name) for path, name in imported if name.split(".")[0] in PICKLING} == set()


@pytest.mark.parametrize("name", ["load", "loads", "dump", "dumps"])
def test_the_engine_cannot_pickle_either(name: str) -> None:
    """Wherever it would: every process of a node, the simulator and all tests run it like this."""
    with pytest.raises(RuntimeError, match="pickle"):
        getattr(pysyncobj.pickle, name)(pickle.dumps([1]))


def test_the_engine_has_no_way_to_pickle_but_the_one_that_is_closed() -> None:
    """Each of its modules goes through `pysyncobj.pickle`, by name when it runs."""
    folder = Path(pysyncobj.__file__).parent
    for path in sorted(folder.glob("*.py")):
        if path.name == "pickle.py":
            continue
        for _, node in trees([path]):
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] not in PICKLING for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2] == "pickle":
                taken = {alias.name for alias in node.names} - {"to_bytes"}
                module = getattr(pysyncobj, path.stem)
                assert all(getattr(module, name) is getattr(pysyncobj.pickle, name) for name in taken), path
