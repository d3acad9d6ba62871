"""A trained model learns new rows: its tables grow by token name, the base's rows are held, the rest learns as asked.

    base = system_class(name).load(folder)                # any system's checkpoint
    grown = adapt.extend(base, p, rows)                   # more tokens, speakers, languages; same outputs as before
    adapt.freeze(grown, p.adapt)                          # what learns from now on
    adapt.weights(net), adapt.load(net, state)            # folded: the names and shapes of the plain network

A system takes part by stating its `tables` and by `widened(p, rows)`. Nothing here knows which system it is.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from ttslib.adapt import lora, tables
from ttslib.adapt.initialise import Recipe, recipes, values
from ttslib.adapt.rows import AdaptError, RowMap
from ttslib.adapt.tables import Table, load, new_rows, weights
from ttslib.params import Params
from ttslib.sections import Adapt

__all__ = [
    "AdaptError", "Recipe", "RowMap", "Table", "extend", "freeze", "load", "load_plain", "new_rows", "plain", "recipes",
    "row_maps", "values", "weights",
]  # fmt: skip


def extend(base, p: Params, rows: Sequence):
    """A new system that knows what `base` knows and, in fresh rows, what the training `rows` have beside it.

    Everything else is a copy: for what the base could already do the outputs are the same, bit for bit. The row maps and
    recipes are in the result's `adaptation` (plain JSON). Raises `AdaptError` when the two do not fit.
    """
    grown = base.widened(p, rows)
    maps = row_maps(base, grown)
    copy_all_but_tables(base, grown)
    generator = torch.Generator().manual_seed(p.seed)
    new = {m.new[i] for m in maps.values() for i in m.added}
    if idle := sorted(set(p.adapt.like) - new):
        raise AdaptError(
            f"adapt.like: there is no new row for {', '.join(map(repr, idle))}; name tokens that the language adds"
        )
    made = {vocabulary: recipes(m, p.adapt.init, p.adapt.like) for vocabulary, m in maps.items()}
    for name, table in grown.tables.items():
        if table.vocabulary in getattr(grown, "reset", ()):
            continue  # its rows start as in a new network
        old, m = base.tables.get(name), maps[table.vocabulary]
        fill = None
        if old is not None:
            fill = values(old.tensors["weight"], m, made[table.vocabulary], p.adapt.noise, generator)
        tables.grow(old, table, m.sources, fill)
    grown.adaptation = {
        "base": {name: tables.fingerprint(net) for name, net in base.nets.items()},
        "tokenizers": {"old": base.tokenizer.digest, "new": grown.tokenizer.digest},
        "rows": {vocabulary: m.state() for vocabulary, m in maps.items()},
        "recipes": {
            v: [[r.name, r.how, list(r.rows) if r.how != "mean" else []] for r in rs] for v, rs in made.items()
        },
        "learnt": learnt(base, maps),
        "lora": None,
    }
    return grown


def row_maps(base, grown) -> dict[str, RowMap]:
    """The map of every vocabulary (text, speakers, languages, ...): special tokens by role, all others by name."""
    old, new, maps = base.tokenizer.roles, grown.tokenizer.roles, {}
    roles = {new[role]: old[role] for role in new if role in old and new[role] != old[role]}
    for name, table in grown.tables.items():
        if table.vocabulary in getattr(grown, "reset", ()):  # another vocabulary: equal names are not the same tokens
            maps[table.vocabulary] = RowMap.between((), table.names)
            continue
        names = base.tables[name].names if name in base.tables else base.vocabularies[table.vocabulary]
        made = RowMap.between(names, table.names, roles if table.vocabulary == "text" else {})
        if maps.setdefault(table.vocabulary, made) != made:
            raise AdaptError(f"tables of one vocabulary disagree in their rows: {table.vocabulary} in {name}")
        if lost := [token for token in made.dropped if token not in old.values()]:
            raise AdaptError(
                f"{table.vocabulary}: {len(lost)} of the base's tokens are not in the new vocabulary, among them "
                f"{lost[:5]}; merge the new language into the base's tokenizer (notebook 01)"
            )
    return maps


def learnt(base, maps: dict[str, RowMap]) -> dict[str, list[str]]:
    """Names of rows that the base itself had learnt as new: where this run adds none, they are what goes on learning."""
    before = base.adaptation or {"rows": {}, "learnt": {}}
    own = {v: RowMap.restore(state) for v, state in before["rows"].items()}
    new = {v: [m.new[i] for i in m.added] or before["learnt"].get(v, []) for v, m in own.items()}
    return {v: [] if m.added else new.get(v, []) for v, m in maps.items()}


def copy_all_but_tables(base, grown) -> None:
    for name, net in grown.nets.items():
        if name not in base.nets:
            continue  # published voices come without the discriminator they were trained with: it starts fresh
        inside = {
            path for path, module in net.named_modules() if any(module is t.module for t in grown.tables.values())
        }
        source, target = base.nets[name].state_dict(), net.state_dict()
        rest = {k for k in target if k.rpartition(".")[0] not in inside}
        outside = {k for k in source if k.rpartition(".")[0] not in inside}
        wrong = [k for k in rest | outside if k not in source or k not in target or source[k].shape != target[k].shape]
        if wrong:
            raise AdaptError(
                f"{name}: {len(wrong)} tensors of base and new network do not fit, among them {sorted(wrong)[:3]}"
            )
        net.load_state_dict({k: source[k] for k in rest}, strict=False)


def freeze(system, a: Adapt) -> None:
    """Decide what learns, in place: which rows of the tables, and all, none or LoRA updates of the rest."""
    if a.freeze_until is not None and a.train_rows == "all":
        raise AdaptError("adapt.freeze_until holds rows and adapt.train_rows=all lets them learn; give one of the two")
    if a.body != "all":
        for net in system.nets.values():
            net.requires_grad_(False)
    for table in system.tables.values():
        for tensor in table.tensors.values():
            tensor.requires_grad_(True)
        tables.split(table, held(table, system.adaptation, a), learn=a.train_rows == "all")
    if a.body == "lora":
        modules = {table.module for table in system.tables.values()}
        layers = {name: lora.targets(net, a.lora.targets, modules) for name, net in system.nets.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the updates start from random A: the same for the same run
            for name, net in system.nets.items():
                lora.inject(net, layers[name], a.lora.rank, a.lora.alpha, a.lora.dropout)
        settings = {"rank": a.lora.rank, "alpha": a.lora.alpha, "dropout": a.lora.dropout}
        system.adaptation = system.adaptation | {"lora": settings | {"layers": layers}}
    if not any(q.requires_grad for net in system.nets.values() for q in net.parameters()):
        raise AdaptError(
            "nothing is left to learn: no new rows, adapt.train_rows=new and adapt.body=none"
            "; set adapt.body=all, or merge the language"
        )


def held(table: Table, adaptation: dict, a: Adapt) -> list[bool]:
    """Which rows are the base's. With `freeze_until`, the first so many rows of the text tables."""
    m = RowMap.restore(adaptation["rows"][table.vocabulary])
    if a.freeze_until is None or table.vocabulary != "text":
        still = set(adaptation["learnt"][table.vocabulary])
        return [s is not None and name not in still for s, name in zip(m.sources, m.new, strict=True)]
    if a.freeze_until > len(m.old):
        raise AdaptError(
            f"adapt.freeze_until is {a.freeze_until}, the base has {len(m.old)} rows; new rows must learn; lower it"
        )
    return [i < a.freeze_until for i in range(len(m.new))]


def plain(net: nn.Module) -> dict[str, torch.Tensor]:
    """What is exported: tables folded and LoRA updates merged, so that names and shapes are the published network's."""
    return lora.merged(net, weights(net)) if has_lora(net) else weights(net)


def has_lora(net: nn.Module) -> bool:
    return any(".lora_A." in name for name, _ in net.named_parameters())


def load_plain(name: str, net: nn.Module, state: dict[str, torch.Tensor], adaptation: dict | None) -> None:
    """Load what `weights` or `plain` gave into the plain network `name` of a system, LoRA updates merged."""
    settings = (adaptation or {}).get("lora")
    if settings and any(".lora_A." in key for key in state):
        carrier = copy.deepcopy(net)
        lora.inject(carrier, settings["layers"][name], settings["rank"], settings["alpha"], settings["dropout"])
        carrier.load_state_dict(state)
        state = lora.merged(carrier, carrier.state_dict())
    net.load_state_dict(state)
