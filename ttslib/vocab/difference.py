"""What differs between two vocabularies beyond their names (`units.difference`): fronts, roles, normalisers, merges."""

from ttslib.units import compared, examples


def difference(a, b) -> str:
    """Readable difference of two vocabularies (tokenizers or `Units`), one finding a line; "" when ids and text are
    the same."""
    found = []
    if a.kind != b.kind:
        found.append(f"kind: {a.kind} → {b.kind}")
    gone, new, moved = compared(a.symbols, b.symbols)
    if len(a) != len(b):
        found.append(f"size: {len(a)} → {len(b)}")
    for what, names in (("gone", gone), ("new", new)):
        if names:
            found.append(f"names {what}: {len(names)}, {examples([*map(repr, names)])}")
    if moved:
        found.append(f"ids moved: {len(moved)}, {examples([f'{n!r} {i} → {j}' for n, i, j in moved])}")
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
