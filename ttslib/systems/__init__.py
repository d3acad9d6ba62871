"""The systems: name -> module, a dict to print. Each module has one class `System`; see docs/interface.md.

A system owns `rate`, `tokenizer`, `tables`, `nets`, `parts()`, `encode(row, wav)`, `losses(batch)`, `synthesize(...)`,
`load(...)` and `export(...)`. Nothing is inherited; tests/test_conformance.py holds every system to the same behaviour.
"""

import importlib

SYSTEMS = {"acoustic": "ttslib.systems.acoustic"}


def system_class(name: str):
    """The class behind a name, imported only now: the systems' dependencies differ."""
    if name not in SYSTEMS:
        raise ValueError(f"system {name!r} does not exist; there are {', '.join(SYSTEMS)}")
    return importlib.import_module(SYSTEMS[name]).System
