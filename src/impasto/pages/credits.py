"""Who is to be named at the end of a page: the networks that its runs read, and the authors of their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ExifTags
from PIL import Image as PillowImage

from impasto.folders.records import PictureRecord, RunRecord
from impasto.images.opening import open_picture
from impasto.networks.catalogue import NETWORKS

BUNDLED = {entry.sha256 for entry in NETWORKS.values() if entry.sha256}


@dataclass(frozen=True)
class NetworkCredit:
    """A network that a run read: its name, or None for the bundled VGG-16 under any of its names; its hash."""

    name: str | None
    trained: bool
    sha256: str


def network_credits(records: Sequence[RunRecord]) -> list[NetworkCredit]:
    """The networks of several runs, each once, in the order of the runs."""
    return list(dict.fromkeys(map(_network_credit, records)))


def _network_credit(record: RunRecord) -> NetworkCredit:
    settings, sha256 = record.spec.settings, str(record.provenance.get("weights_sha256", "unknown"))
    return NetworkCredit(None if sha256 in BUNDLED else settings.network, settings.random_weights is None, sha256)


def picture_credits(pictures: Sequence[PictureRecord]) -> list[str]:
    """For each picture its role and name, and the author and copyright that its file names; each line once."""
    return list(dict.fromkeys(map(_picture_credit, pictures)))


def _picture_credit(picture: PictureRecord) -> str:
    words = [f"{picture.role.capitalize()}: {picture.given.name}"]
    if picture.path is not None:
        try:
            with open_picture(picture.path) as file:
                exif = file.getexif()
        except OSError:  # no longer readable: only the name is known
            exif = PillowImage.Exif()
        words += [str(exif[tag]).strip() for tag in (ExifTags.Base.Artist, ExifTags.Base.Copyright) if tag in exif]
    return ", ".join(word for word in words if word)
