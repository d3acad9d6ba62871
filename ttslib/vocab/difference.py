"""What differs between two vocabularies: said when a checkpoint meets another tokenizer than its own."""

SHOWN = 5


def difference(a, b) -> str:
    """Readable difference of two vocabularies (tokenizers or `Units`), one finding a line; "" when ids and text are
    the same."""
    found = []
    if a.kind != b.kind:
        found.append(f"kind: {a.kind} → {b.kind}")
    ids = [{name: i for i, name in enumerate(v.symbols)} for v in (a, b)]
    if len(a) != len(b):
        found.append(f"size: {len(a)} → {len(b)}")
    for what, names in (
        ("gone", [n for n in a.symbols if n not in ids[1]]),
        ("new", [n for n in b.symbols if n not in ids[0]]),
    ):
        if names:
            found.append(f"names {what}: {len(names)}, {examples(map(repr, names))}")
    moved = [(n, i, ids[1][n]) for n, i in ids[0].items() if ids[1].get(n, i) != i]
    if moved:
        found.append(f"ids moved: {len(moved)}, {examples(f'{n!r} {i} → {j}' for n, i, j in moved)}")
    for what in ("front", "roles", "homophones", "versions"):
        one, two = (getattr(v, what, None) for v in (a, b))
        if isinstance(one or two, dict):
            one, two = one or {}, two or {}
            keys = sorted(k for k in one.keys() | two.keys() if one.get(k) != two.get(k))
            found += [f"{SAID[what]} {k}: {one.get(k, 'none')} → {two.get(k, 'none')}" for k in keys]
        elif one != two:
            found.append(f"{SAID[what]}: {one} → {two}")
    if not found and a.state() != b.state():
        found.append("the same names and ids, but other merges, scores or settings in the file")
    return "\n".join(found)


SAID = {"front": "text front", "roles": "role", "homophones": "homophones folded", "versions": "normaliser of"}


def examples(some) -> str:
    some = list(some)
    return ", ".join(some[:SHOWN]) + (", …" if len(some) > SHOWN else "")
