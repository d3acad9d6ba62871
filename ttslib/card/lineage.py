"""What a run was started from, all the way down: bases, lent vocoders, teachers and codecs, each with its licence."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ttslib import checkpoint, manifest, pipeline, runs
from ttslib.card import licences
from ttslib.manifest import Manifest, ManifestError
from ttslib.vocab.source import HUB

UNNAMED = "unknown: the manifest names none"
NAMED = (("adapt", "base"), ("vits", "vocoder"), ("vits", "discriminator_from"), ("pocket", "teacher"))


class Link(NamedTuple):
    """One thing that a run has been made from."""

    role: str
    """what names it, e.g. adapt.base"""
    of: str
    """the run it was taken for"""
    where: str
    """hub id, path or package, as the params have it"""
    what: str
    licences: tuple[str, ...]
    """its own, or where it is a run of ours those of its data; none where that is the run's own data"""
    fingerprint: str
    """of its weights, as whoever started from it recorded them"""
    hub: str | None
    """its hub id, if it is one"""


def chain(
    state: Mapping[str, Any], digest: str | None = None, of: str = "this run", seen: tuple[Path, ...] = ()
) -> Iterator[Link]:
    """Every link below the system with this `state` (system.json), nearest first. A folder that is gone, or a circle, is
    said in the link's `what`. `digest` is that of the manifest it learnt from."""
    p, system = state["params"], state["system"]
    recorded = state.get("adaptation") or {}
    for section, name in NAMED:
        where = (p.get(section) or {}).get(name)
        if where is None or (section not in ("adapt", system)):
            continue
        role = f"{section}.{name}"
        told = recorded.get("base") if role == "adapt.base" else None
        yield from link(role, of, where, system, prints(told), seen)
    codec = state.get("codec") or {}
    known = f"`{codec['hash']}`" if codec.get("hash") else "unknown: nothing was encoded with it yet"
    if "weights" in codec:
        corpus = codec["about"].get("corpus", "unknown")
        other = (f"unknown: of its corpus only the digest was kept, {corpus}",)
        yield Link("codec", of, codec["name"], "a codec of ours", () if corpus == digest else other, known, None)
    elif p.get("codec"):
        what, licence = licences.of_codec(p["codec"])
        yield Link("codec", of, p["codec"], what, (licence,), known, hub(p["codec"].partition("=")[2]))
    if str(state.get("model", "")).startswith("supertonic"):  # the styles that were learnt are this model's
        what, licence = licences.of_weights(state["model"])
        yield Link("styles", of, state["model"], what, (licence,), "unknown: a runtime that stays outside", None)


def link(role: str, of: str, where: str, system: str, fingerprint: str, seen: tuple[Path, ...]) -> Iterator[Link]:
    path = Path(where)
    if (path / "checkpoints").is_dir() or (path / "system.json").is_file():
        try:
            place = pipeline.checkpoint_of(path).resolve()
            state = checkpoint.read_json(place / "system.json")
        except (runs.RunError, checkpoint.CheckpointError) as error:
            yield Link(role, of, where, "a run of ours", (f"unknown: {error}",), fingerprint, None)
            return
        what = f"trained by ttslib (system {state['system']})"
        if place in seen:
            yield Link(role, of, where, f"{what}; named in a circle", ("unknown: a circle",), fingerprint, None)
            return
        home = (
            place.parent.parent if place.parent.name == "checkpoints" else path
        )  # a run's own checkpoint may be named
        yield Link(role, of, where, what, tuple(data(home)), fingerprint, None)
        known = home / "data.json"
        digest = checkpoint.read_json(known)["digest"] if known.is_file() else None
        yield from chain(state, digest, where, (*seen, place))
    else:
        what, licence = licences.of_weights(where, system)
        if path.exists():
            what += ", by its name alone"
        elif not hub(where) and not where.startswith("package:"):
            what += "; not here any more"
        yield Link(role, of, where, what, (licence,), fingerprint, hub(where))


def data(folder: Path) -> list[str]:
    """The licences of what a run of ours was trained on."""
    if not (folder / "data.json").is_file():
        return [f"unknown: {folder} has no data.json, which would name its data"]
    try:
        return of(trained_on(folder))
    except (ManifestError, checkpoint.CheckpointError) as error:
        return [f"unknown: {error}"]


def of(found: Manifest) -> list[str]:
    """The licences of a manifest's training clips."""
    return sorted({row.licence or UNNAMED for row in found.split("train")})


def trained_on(folder: Path) -> Manifest:
    """The manifest that a run was trained on. Raises `ManifestError` when it is gone or another one by now."""
    known = checkpoint.read_json(folder / "data.json")
    found = manifest.read(known["manifest"])
    if found.digest != known["digest"]:
        raise ManifestError(
            f"{found.folder}: it was made anew since: its digest is {found.digest[:12]}, the run was trained on "
            f"{known['digest'][:12]}; train the run again to describe it"
        )
    return found


def prints(recorded: Mapping[str, str] | None) -> str:
    """Fingerprints of nets as a cell."""
    if not recorded:
        return "unknown: it was not recorded"
    return ", ".join(f"{name} `{value}`" for name, value in recorded.items())


def hub(where: str) -> str | None:
    """`owner/name` of a hub id, None for what is a path here or no id at all."""
    found = HUB.fullmatch(where.partition("#")[0])
    if not found or Path(where).exists() or (found["file"] and "." not in found["file"]):
        return None
    return found["repo"]
