"""What the checks look at: the same parts that training would start from, made here where they are not handed in."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from ttslib import adapt, checkpoint, codecs, dataset, manifest, pipeline, session, speech
from ttslib.dataset import Example, Features
from ttslib.manifest import Manifest, Row
from ttslib.params import Params

FEW, MOST = 4, 24  # clips that are trained on, and clips that a parameter may take to get its first gradient
SEARCHED = 500  # clips among which those with new rows are found
SHARED = ("held", "kept", "tokenizer", "encoder", "ear", "pool")  # large, and left alone by training
BLAMED = {"found": "manifest", "system": "text", "features": "codes"}  # whose failure it is that a part cannot be made


class Subject:
    """The parts of a run; `missing` says what could not be made, whose check that fails, and the error."""

    def __init__(self, p: Params, engine, found: Manifest | None = None, system=None, train: Features | None = None):
        self.p, self.engine, self.found, self.system, self.train = p, engine, found, system, train
        self.missing: dict[str, tuple[str, Exception]] = {}

    def prepare(self) -> None:
        """Make what was not handed in, as `pipeline.train` does; after the first error the rest is missing too."""
        reason = None
        for part, make in {"found": self.find, "system": self.begin, "features": self.encode}.items():
            if reason is None:
                try:
                    make()
                except Exception as error:  # noqa: BLE001  the row of the check that it belongs to tells it
                    reason = ("codes" if isinstance(error, codecs.CodecError) else BLAMED[part], error)
            if reason is not None:
                self.missing[part] = reason

    def find(self) -> None:
        self.found = self.found or manifest.prepare(self.p)

    def begin(self) -> None:
        if self.system is None:
            self.system = pipeline.beginning(self.p, self.found.split("train"))
            self.p = self.system.p

    def encode(self) -> None:
        if self.train is None:
            self.train = speech.features(self.system, self.found, "train", self.p)
            speech.features(self.system, self.found, "val", self.p)  # which training needs too
            self.system.measure(self.train)
            if hasattr(self.system, "meet"):
                self.system.meet(self.found.split("train"), self.read)

    def read(self, row: Row, rate: int | None = None) -> torch.Tensor:
        """The row's speech `(samples,)` at `rate` (Hz), else the system's."""
        return speech.recording(self.found, row, rate or self.system.rate)

    def codec(self):
        """What makes the codes that the system learns; None where it learns from sound itself, or from latents."""
        found = getattr(self.system, "codec", None)
        return None if found is None or found.vocab is None else found

    def copied(self):
        """A copy of the system with networks of its own, on the device; what training leaves alone is shared."""
        inside = {id(module) for net in self.system.nets.values() for module in net.modules()}
        kept = {id(v): v for n, v in vars(self.system).items() if n in SHARED and id(v) not in inside}
        made = copy.deepcopy(self.system, kept)
        for net in made.nets.values():
            net.to(self.engine.device)
        return made

    def order(self) -> list[int]:
        """Indices of `MOST` short training examples, those that read rows which the base does not have first."""
        new, order = self.new_ids(), sorted(range(len(self.train)), key=self.train.lengths.__getitem__)
        if new:  # not of all: reading a large corpus from disk would take longer than the check
            order = sorted(order[:SEARCHED], key=lambda index: new.isdisjoint(self.train[index]["text"].tolist()))
        return order[:MOST]

    def new_ids(self) -> set[int]:
        """Ids of the text rows that the base does not have."""
        if not self.system.adaptation:
            return set()
        return set(adapt.RowMap.restore(self.system.adaptation["rows"]["text"]).added)

    def clips(self) -> Features:
        """A few short training clips, in the order of `order`."""
        return self.chosen(self.order()[:FEW])

    def chosen(self, taken: Sequence[int]) -> Features:
        """These training examples, as features of their own."""
        of = [[values[i] for i in taken] for values in (self.train.ids, self.train.files, self.train.lengths)]
        return Features(*of, ram={place: self.train[i] for place, i in enumerate(taken)})

    def rows(self, clips: Features) -> list[Row]:
        """The manifest's rows of some training clips."""
        by_id = {row.id: row for row in self.found.rows}
        return [by_id[clip] for clip in clips.ids]

    def batch(self, examples: Sequence[Example]) -> Example:
        return dataset.to_device(dataset.collate(examples), self.engine.device)

    def validated(self, system, clips: Features) -> dict[str, float]:
        """Every loss term over these clips as validation measures them: dropout off, the same draws each time."""
        with checkpoint.own_rng(self.p.seed):
            return session.validate(system, clips, self.p, self.engine)


def mode(system, training: bool) -> None:
    for net in system.nets.values():
        net.train(training)


def names(system) -> dict[int, str]:
    """Every parameter's name by its identity."""
    return {id(q): f"{n}.{k}" for n, net in system.nets.items() for k, q in net.named_parameters()}


def spread(items: Sequence, count: int) -> list:
    """Up to `count` of the items, evenly spread over them."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def trainable(system) -> list[nn.Parameter]:
    return [q for part in system.parts().values() for q in part]
