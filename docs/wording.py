"""Expressions of a source as the text they make: what is only known when it runs is a {hole}."""

import ast
from typing import Any

DEEP = 6  # of names that stand for names: a message that needs more is a hole


def tail(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def given_once(function: ast.FunctionDef | None) -> dict[str, tuple[ast.expr, None]]:
    """Locals that are assigned in one place, by `name = value` or `name := value`, with that value."""
    found: dict[str, list] = {}
    for node in ast.walk(function) if function is not None else ():
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.NamedExpr):
            found.setdefault(node.target.id, []).append(node.value)
    nodes = ast.walk(function) if found else ()
    stored = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return {name: (values[0], None) for name, values in found.items() if stored.count(name) == 1}


def either(node: ast.expr, scope: Any) -> list[str]:
    """The message, or both of `a if x else b`."""
    return [text(n, scope) for n in ((node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,))]


def text(node: ast.expr, scope: Any) -> str:
    match node:
        case ast.Constant(value):
            return str(value)
        case ast.JoinedStr(values):
            return "".join(text(v.value if isinstance(v, ast.FormattedValue) else v, scope) for v in values)
        case ast.BinOp(left, ast.Add(), right):
            return text(left, scope) + text(right, scope)
        case ast.IfExp(_, a, b) if spells(a) and spells(b):
            a, b = text(a, scope), text(b, scope)
            return f"[{a}|{b}]" if a and b else f"[{a or b}]"
        case ast.Name(name) if scope.deep < DEEP and (found := scope.meaning(name)) and spells(found[0]):
            return text(*found)
        case ast.Call(ast.Name(name)) if scope.deep < DEEP and (f := scope.module.functions().get(name)):
            ends = [n.value for n in ast.walk(f) if isinstance(n, ast.Return)]
            if len(ends) == 1 and spells(ends[0]):
                return text(ends[0], scope.within(f, node))
    return "{" + hole(node) + "}"


def spells(node: ast.expr | None) -> bool:
    """Is it text of the program's own, and no value from elsewhere?"""
    match node:
        case ast.Constant(str()) | ast.JoinedStr():
            return True
        case ast.BinOp(left, ast.Add(), right):
            return spells(left) or spells(right)
        case ast.IfExp(_, a, b):
            return spells(a) and spells(b)
    return False


def hole(node: ast.expr) -> str:
    """A short name for a value."""
    match node:
        case ast.Attribute(ast.Call(ast.Name("type"), [value]), "__name__"):
            return f"type of {hole(value)}"
        case ast.Name(name) | ast.Attribute(_, name):
            return name
        case ast.Call(ast.Name("len"), [value]):
            return f"count of {hole(value)}"
        case ast.Call(ast.Name("map"), [_, value]) | ast.Call(ast.Attribute(_, "join"), [value]):
            return hole(value)
        case ast.Call(ast.Name("str" | "repr" | "sorted" | "list" | "tuple" | "sum" | "min" | "max"), [value, *_]):
            return hole(value)
        case ast.Call(ast.Name(name)):
            return name
        case ast.Call(ast.Attribute(value, name), args):
            return hole(value) if not args or tail(value) not in ("listen", "session") else name
        case ast.Subscript(value, ast.Constant(str() as key)):
            return key
        case ast.Subscript(value) | ast.Starred(value) | ast.Await(value):
            return hole(value)
        case ast.GeneratorExp(element) | ast.ListComp(element) | ast.SetComp(element):
            return hole(element)
        case ast.BinOp(left) | ast.BoolOp(_, [left, *_]) | ast.IfExp(left):
            return hole(left)
        case ast.Tuple([first, *_]) | ast.List([first, *_]):
            return hole(first)
    return "…"
