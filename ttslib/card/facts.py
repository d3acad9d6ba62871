"""What a run's folder holds, read once for its card."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ttslib import checkpoint, forgetting, manifest, params, pipeline, runs
from ttslib.card import lineage
from ttslib.corpora.espeak import SOURCE as SYNTHETIC
from ttslib.manifest import Manifest, ManifestError
from ttslib.params import Params


@dataclass(frozen=True)
class Facts:
    """A run, its best checkpoint and everything beside it. Whatever is missing or damaged is raised with its file's name,
    but for the manifest, which lies elsewhere: without it `unread` says why."""

    run: runs.Run
    p: Params
    system: object
    """the best checkpoint, loaded"""
    best: Path
    found: Manifest | None
    unread: str
    history: list[dict]
    quarantined: list[dict]
    clips: dict[str, str]
    made_by: dict[str, str]
    known: dict[str, str]
    """`manifest` and `digest` of data.json"""
    scorecard: dict | None
    replayed: list[tuple[str, Manifest | None]]
    """a base's languages that were replayed in training, with their clips"""

    @classmethod
    def of(cls, folder: Path) -> "Facts":
        """Raises `RunError` for a folder that is no run, `CheckpointError` and `ParamsError` for damaged files in it."""
        run = runs.Run(folder)
        if run.trained is None:
            raise runs.RunError(f"{folder}: no checkpoint in it; give a run's folder, outputs/<lang>/<system>/<run>")
        told = {n: checkpoint.read_json(folder / f"{n}.json") for n in ("quarantined", "clips", "provenance", "data")}
        found, unread = None, ""
        try:
            found = lineage.trained_on(folder)
        except ManifestError as error:
            unread = f"unknown: {error}"
        score, p = folder / "scorecard.json", params.load(folder / "params.yaml")
        return cls(
            run=run, p=p, system=pipeline.load(run.trained), best=run.trained.resolve(), found=found, unread=unread,
            history=run.rows() if (folder / "training_history.json").is_file() else [],
            quarantined=told["quarantined"], clips=told["clips"], made_by=told["provenance"], known=told["data"],
            scorecard=checkpoint.read_json(score) if score.is_file() else None, replayed=list(replays(p)),
        )  # fmt: skip

    @property
    def rows(self) -> tuple[manifest.Row, ...]:
        return self.found.rows if self.found else ()

    @cached_property
    def links(self) -> list[lineage.Link]:
        return list(lineage.chain(checkpoint.read_json(self.best / "system.json"), self.known["digest"]))

    @property
    def synthetic(self) -> float:
        """Share of the speech (seconds) that no person spoke."""
        all_of_it = sum(row.seconds for row in self.rows)
        return sum(row.seconds for row in self.rows if row.source == SYNTHETIC) / all_of_it if all_of_it else 0.0

    @property
    def parametric(self) -> bool:
        """Were its pairs made here, in voices that are numbers?"""
        made = self.p.system == "style" and self.p.corpus.path is None
        return made and self.p.pairs.runtime == "parametric"

    @property
    def clones(self) -> bool:
        """Does it speak in, or describe, the voice of any recording it is given?"""
        return hasattr(self.system, "clone") or hasattr(self.system, "welcome")

    @property
    def langs(self) -> list[str]:
        return sorted({row.lang for row in self.rows}) or list(self.p.langs)

    @property
    def data_licences(self) -> list[str]:
        if self.found is None:
            return [self.unread]
        told = set(lineage.of(self.found))
        for lang, other in self.replayed:
            told |= {*lineage.of(other)} if other else {f"unknown: what was replayed of {lang} is gone"}
        return sorted(told)

    @property
    def licences(self) -> list[tuple[str, str]]:
        """`(of what, licence)` of everything that went into the weights, nearest first."""
        told = [("the data of this run", licence) for licence in self.data_licences]
        return told + [(f"{one.role} {one.where}", licence) for one in self.links for licence in one.licences]


def replays(p: Params) -> Iterator[tuple[str, Manifest | None]]:
    """The languages that were mixed in so as not to be forgotten, each with its manifest while that is there."""
    if p.replay.lang is None or not p.replay.ratio:
        return
    where = manifest.folder(forgetting.corpus(p))
    yield p.replay.lang, manifest.read(where) if (where / "manifest.jsonl").is_file() else None
