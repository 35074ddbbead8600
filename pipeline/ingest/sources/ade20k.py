"""ADE20K: a folder of photos (`ADE_train_00016858.jpg`) with their masks beside them.

The companions of a photo are its object mask (`_seg.png`, role `segmentation`) and the masks of parts
(`_parts_1.png`, ..., role `parts`); its text is the scene, which is the name of its folder. A mask's class is
R / 10 * 256 + G, its instance B.
"""

from __future__ import annotations

from pipeline.ingest.sources.folder import Companion, Folder, FolderConfig


class Ade20kConfig(FolderConfig):
    """Settings of the `ade20k` source: a folder whose companions are ADE20K's."""

    endings: tuple[str, ...] = (".jpg",)
    """Endings of photos."""
    companions: tuple[Companion, ...] = (
        Companion(role="segmentation", path="{stem}_seg.png"),
        Companion(role="parts", path="{stem}_parts_*.png", absent="fine"),
    )
    """The masks of each photo."""
    folder_text: str | None = "scene"
    """The kind of text that the name of a photo's folder is."""


class Ade20k(Folder):
    """ADE20K in its full form. For the 150-class benchmark, whose masks lie elsewhere, set `source.companions`."""

    Config = Ade20kConfig
    licence = "Images: non-commercial research and education; annotations: BSD-3"
    citation = "Zhou et al. 2017, Scene Parsing through ADE20K, CVPR 2017, arXiv:1608.05442"
