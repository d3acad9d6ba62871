"""What a package says when it raises: every message of given error classes, read from the source and never run."""

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from wording import either, given_once, tail, text


class Said(NamedTuple):
    error: str
    """The class."""
    message: str
    """Its text; what is only known when it happens is a {hole}, what is said only at times is in [brackets]."""
    where: str
    """module:function."""
    advice: str
    """The second argument, of errors that keep what to do apart; else empty."""


class Module(NamedTuple):
    name: str
    tree: ast.Module

    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}


class Scope(NamedTuple):
    """Where a message stands: what the names in it mean there."""

    source: "Source"
    module: Module
    names: Mapping[str, tuple[ast.expr, "Scope | None"]]
    """Of locals that are given once, and of a helper's parameters: the expression, and whose names are in it."""
    deep: int = 0

    def meaning(self, name: str) -> "tuple[ast.expr, Scope] | None":
        if name in self.names:
            value, scope = self.names[name]
            return value, (scope or self)._replace(deep=self.deep + 1)
        if found := self.source.constant(self.module, name):
            value, module = found
            return value, Scope(self.source, module, {}, self.deep + 1)
        return None

    def within(self, function: ast.FunctionDef, call: ast.Call) -> "Scope":
        """The scope in a function of the module that is called here."""
        given = {name: (value, self) for name, value in arguments(function, call).items()}
        return Scope(self.source, self.module, {**given_once(function), **given}, self.deep + 1)


class Source:
    """The modules of the package at `root`."""

    def __init__(self, root: Path):
        self.modules = {}
        for file in sorted(root.rglob("*.py")):
            parts = [root.name, *file.relative_to(root).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[name] = Module(name, ast.parse(file.read_text(encoding="utf-8")))

    @cached_property
    def classes(self) -> dict[str, tuple[list[str], str]]:
        """Of each class the names of its bases and its docstring."""
        nodes = [n for m in self.modules.values() for n in ast.walk(m.tree) if isinstance(n, ast.ClassDef)]
        return {n.name: ([tail(base) for base in n.bases], ast.get_docstring(n) or "") for n in nodes}

    @cached_property
    def calls(self) -> dict[str, list[ast.Call]]:
        """By the name of what is called."""
        found: dict[str, list[ast.Call]] = {}
        for module in self.modules.values():
            for _, _, call in calls(module.tree):
                found.setdefault(tail(call.func), []).append(call)
        return found

    def family(self, names: set[str]) -> set[str]:
        """These classes and all that are derived from them."""
        more = names | {name for name, (bases, _) in self.classes.items() if names & {*bases}}
        return names if more == names else self.family(more)

    def constant(self, module: Module, name: str) -> tuple[ast.expr, Module] | None:
        for node in module.tree.body:
            if isinstance(node, ast.Assign) and [tail(t) for t in node.targets] == [name]:
                return node.value, module
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
                if node.module in self.modules:
                    return self.constant(self.modules[node.module], original)
        return None

    def said(self, errors: set[str]) -> list[Said]:
        """Every message of these classes and of those derived from them."""
        errors = self.family(errors)
        return [said for module in self.modules.values() for said in self.of_module(module, errors)]

    def of_module(self, module: Module, errors: set[str]) -> Iterator[Said]:
        makers = {name: made for name, f in module.functions().items() if (made := returned(f, errors))}
        for place, function, call in calls(module.tree):
            name, given, where = tail(call.func), call, f"{module.name}:{place}"
            if name in errors:
                kinds = [] if function is not None and function.name in makers else [name]
            else:
                kinds = [tail(makers[name].func)] if name in makers else self.passed(function, name, errors)
            if not kinds:
                continue
            scope = Scope(self, module, given_once(function))
            if name in makers:
                given, scope = makers[name], scope.within(module.functions()[name], call)
            for kind in kinds:
                advice = text(given.args[1], scope) if len(given.args) > 1 else ""
                for message in either(given.args[0], scope) if given.args else [""]:
                    yield Said(kind, message, where, advice)

    def passed(self, function: ast.FunctionDef | None, name: str, errors: set[str]) -> list[str]:
        """The error classes that callers pass to this function as its parameter of that name, its default included."""
        if function is None or name not in [a.arg for a in function.args.args]:
            return []
        found = {tail(value) for value in function.args.defaults}
        for node in self.calls.get(function.name, ()):
            found |= {tail(value) for value in (*node.args, *(word.value for word in node.keywords))}
        return sorted(found & errors)


def calls(tree: ast.AST, place: tuple[str, ...] = (), function=None) -> Iterator[tuple[str, ast.FunctionDef, ast.Call]]:
    """Every call with its place and the innermost function around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield ".".join(place) or "-", function, node
        if isinstance(node, ast.FunctionDef):
            yield from calls(node, (*place, node.name), node)
        elif isinstance(node, ast.ClassDef):
            yield from calls(node, (*place, node.name), function)
        else:
            yield from calls(node, place, function)


def returned(function: ast.FunctionDef, errors: set[str]) -> ast.Call | None:
    """The error that a function makes for others to raise."""
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call) and tail(node.value.func) in errors:
            return node.value
    return None


def arguments(function: ast.FunctionDef, call: ast.Call) -> dict[str, ast.expr]:
    names = [a.arg for a in function.args.args]
    return {**dict(zip(names, call.args, strict=False)), **{word.arg: word.value for word in call.keywords if word.arg}}
