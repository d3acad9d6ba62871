"""The model card of a run, from what lies in its folder: Markdown with the front matter of Hugging Face's model cards.

    card.write("outputs/am/vits/first")        # -> outputs/am/vits/first/card.md

Every number in it is read from a file of the run or its manifest. What is not known is written "unknown: <why>".
"""

import os
import sys
from pathlib import Path

import yaml

from ttslib.card import licences, scores, sections, words
from ttslib.card.facts import Facts
from ttslib.card.lineage import Link

__all__ = ["Facts", "Link", "write"]


def write(folder: str | Path) -> Path:
    """Write `<run>/card.md` and return its path.

    Raises `RunError` for a folder without a checkpoint, `CheckpointError` and `ParamsError` for a file of the run that is
    missing or damaged. A manifest that is gone, or made anew since, is said in the card.
    """
    told = Facts.of(Path(folder))
    parts = {
        "": f"# {words.cell(told.run.name)}: {told.p.system}, {', '.join(told.langs)}\n\n{sections.what(told)}",
        "Intended use and consent": sections.use(told),
        "Data": sections.data(told),
        "Base model and lineage": sections.lineage(told),
        "What that means for the licence": sections.licence(told),
        "Evaluation": scores.section(told.scorecard, str(told.run.folder), told.best.name),
        "Audio samples": sections.samples(told),
        "Fingerprints": sections.fingerprints(told),
        "Limits": words.bullets(scores.limits(told.scorecard, (told.run.folder / "listening.json").is_file())),
    }
    text = "\n\n".join(f"## {title}\n\n{part}" if title else part for title, part in parts.items())
    path, partial = told.run.folder / "card.md", told.run.folder / f".card.md.{os.getpid()}"
    partial.write_text(f"---\n{front(told)}---\n\n{text}\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def front(told: Facts) -> str:
    """The front matter as YAML. Languages are named by ISO 639 codes, `multilingual` where a system reads no text;
    `base_model` has the hub ids of the lineage alone, since the hub refuses paths."""
    sources = sorted({row.source.removeprefix("hub:").removesuffix(" (synthetic)") for row in told.rows})
    matter = {
        "language": ["multilingual" if lang == "all" else lang for lang in told.langs],
        **licences.front(licence for _, licence in told.licences),
        "library_name": "ttslib",
        "pipeline_tag": "text-to-speech" if getattr(told.system, "reads", True) else None,
        "tags": ["text-to-speech", told.p.system] + ["synthetic-data"] * bool(told.synthetic or told.parametric),
        "base_model": sorted({one.hub for one in told.links if one.hub and one.role != "codec"}),
        "datasets": sources,
    }
    kept = {name: value for name, value in matter.items() if value}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=sys.maxsize)
