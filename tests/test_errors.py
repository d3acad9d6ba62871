"""docs/errors.md has every message that a user can meet, each with a cause and a cure, and is what the source says."""

import ast
import importlib
import sys

import pytest

from ttslib.__main__ import expected, main
from ttslib.paths import ROOT

sys.path.insert(0, str(ROOT / "docs"))  # scripts of the repository
errors, raises = importlib.import_module("errors"), importlib.import_module("raises")


@pytest.fixture(scope="module")
def source():
    return raises.Source(ROOT / "ttslib")


@pytest.fixture(scope="module")
def said(source):
    return source.said(errors.errors())


def test_the_page_is_what_the_source_says():
    """After a message has changed: python docs/errors.py"""
    assert (ROOT / "docs/errors.md").read_text(encoding="utf-8") == errors.generated()


def test_every_message_has_a_cause_and_a_cure(said):
    cures = errors.cures()
    rows = errors.rows(said, cures)
    assert len(rows) > 500
    lacking = [f"{row.places[0]}: {row.message!r}" for row in rows if not (row.cause and row.cure)]
    assert not lacking, "say in these messages what to do, or in docs/cures.yaml:\n" + "\n".join(lacking)
    assert not cures.idle(), f"docs/cures.yaml: no message needs {cures.idle()}"


def test_every_class_that_is_printed_is_there():
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert [kind.__name__ for kind in expected() if f"\n## {kind.__name__}\n" not in page] == []


@pytest.mark.parametrize("kind", expected(), ids=lambda kind: kind.__name__)
def test_every_class_is_printed_as_one_error(kind, monkeypatch, capsys):
    def refuse(options):
        raise kind("what: and what to do")

    monkeypatch.setattr("ttslib.verbs.resolved", refuse)
    assert main(["validate", "qaa"]) == 1
    assert capsys.readouterr().err == "error: what: and what to do\n"


def test_every_error_of_the_package_is_one_that_is_printed(source):
    """A new class that is derived from an exception belongs into `expected()`."""
    known = source.family(errors.errors())
    builtin = {"Exception", "ValueError", "RuntimeError", "KeyError", "TypeError", "OSError", "LookupError"}
    assert [name for name, (bases, _) in source.classes.items() if builtin & {*bases} and name not in known] == []


def raised(tree: ast.AST) -> list[str]:
    """What is raised, by another way than the tool's: the word after `raise`."""
    found = [ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    return [text.partition("(")[0].rpartition(".")[2] for text in found]


BUGS = {"ValueError", "TypeError", "KeyError", "RuntimeError", "KeyboardInterrupt", "Stopped", "BadZipFile"}
"""Raised for callers' mistakes, for signals, or caught where they are raised: not for users."""


def test_no_raise_is_skipped(source, said):
    """Every `raise` is of a listed class, once or more in its module, of a bug, or hands on what came."""
    family = source.family(errors.errors())
    listed = {}
    for one in said:
        listed.setdefault((one.where.partition(":")[0], one.error), []).append(one)
    for module in source.modules.values():
        names = raised(module.tree)
        assert {*names} <= family | BUGS | {"error", "failure", "broken"}, module.name
        for name in {*names} & family:
            assert len(listed.get((module.name, name), ())) >= names.count(name), f"{module.name}: {name}"


MADE = '''
from made.words import HINT
class Wrong(ValueError):
    """What is wrong."""
class Worse(Wrong):
    """What is worse."""
class Other(ValueError):
    """Nobody's."""
def plain(x):
    raise Wrong(f"{x}: no {', '.join(x)} in {len(x)}; give one")
def named(x):
    told = f"of {x}"
    raise Worse(f"it is {told}: {HINT}") from None
def both(x):
    raise Wrong("a; set b" if x else "c; set d")
def sometimes(x):
    raise Wrong("a" + (f" and {x}" if x else "") + "; see b")
def built(x):
    return Wrong(f"built of {x}; take another")
def uses():
    raise built("straw")
def passed(x, failure=Wrong):
    raise failure(f"{x} is out; try later")
def passes():
    passed("a", failure=Worse)
def hidden(x):
    for _ in x:
        try:
            if x:
                yield lambda: (_ for _ in ()).throw(Wrong("deep; look"))
        except Worse:
            raise
def nobodys():
    raise Other("not a user's")
class Holder:
    def method(self):
        raise made.Wrong("no cure here")
'''


def test_a_made_module_is_read_whole(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/__init__.py").write_text(MADE)
    (tmp_path / "made/words.py").write_text('HINT = "use words"\n')
    found = raises.Source(tmp_path / "made").said({"Wrong"})
    assert {(one.error, one.where.partition(":")[2], one.message) for one in found} == {
        ("Wrong", "plain", "{x}: no {x} in {count of x}; give one"),
        ("Worse", "named", "it is of {x}: use words"),
        ("Wrong", "both", "a; set b"),
        ("Wrong", "both", "c; set d"),
        ("Wrong", "sometimes", "a[ and {x}]; see b"),
        ("Wrong", "uses", "built of straw; take another"),
        ("Wrong", "passed", "{x} is out; try later"),
        ("Worse", "passed", "{x} is out; try later"),
        ("Wrong", "hidden", "deep; look"),
        ("Wrong", "Holder.method", "no cure here"),
    }
    rows = {row.message: row for row in errors.rows(found, errors.Cures({"no * here": "mend it", "never": "x"}))}
    assert (rows["a; set b"].cause, rows["a; set b"].cure) == ("a", "set b")
    assert rows["no cure here"].cure == "mend it"
    assert errors.Cures({}).split("it is so") == ("it is so", "")
    assert errors.Cures({}).split("no b; there are {c}")[1] == errors.CHOOSE
