"""Bodies of images to their places in a batch: uint8 RGB squares, cropped and mirrored at random.

Most JPEGs go through pairmill's own decoder, all of a call at once: from their bits to the batch, without an image in
between. What it does not take (other formats, progressive JPEGs, an index that gives another size) goes through
libraries, with the same law of crops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.jpeg import native
from pipeline.shard.reader import Example
from pretrain.data.picks import Draws
from pretrain.transform import AugmentConfig, cropped, mirrored, random_windows, size_of


class SquareMaker:
    """Makes squares as `[augment]` says."""

    def __init__(self, augment: AugmentConfig) -> None:
        self.augment = augment.settled()

    def fill(self, examples: Sequence[Example], draws: Draws, out_NCHW: np.ndarray) -> list[str | None]:
        """Make the square of each example in its place.

        Returns: for each example, None or why it cannot be decoded; such a place holds anything.
        """
        flips = mirrored(self.augment, draws)
        filled = np.zeros(len(examples), bool)
        if self.augment.decoder == "native":
            filled = self._native(examples, draws, flips, out_NCHW)
        faults: list[str | None] = [None] * len(examples)
        for row in np.flatnonzero(~filled):
            try:
                square_HWC = self._library(examples[row], draws[np.array([row])], out_NCHW.shape[-1])
            except ValueError as error:
                faults[row] = str(error)
                continue
            out_NCHW[row] = (square_HWC[:, ::-1] if flips[row] else square_HWC).transpose(2, 0, 1)
        return faults

    def _native(self, examples: Sequence[Example], draws: Draws, flips: np.ndarray, out_NCHW: np.ndarray) -> np.ndarray:
        """Which places were filled."""
        sizes = np.array([(example.width, example.height) for example in examples], np.int64)
        windows = np.tile(np.array([0, 0, 1, 1], np.int64), (len(sizes), 1))
        ours = np.array([example.mime == "image/jpeg" for example in examples]) & (sizes > 0).all(axis=1)
        sizes[~ours] = 1
        windows[ours] = random_windows(sizes[ours], self.augment, draws[ours])
        bodies = [example.media if take else b"" for example, take in zip(examples, ours, strict=True)]
        return native.squares(bodies, native.Squares(sizes, windows, flips), out_NCHW)

    def _library(self, example: Example, draws: Draws, side_px: int) -> np.ndarray:
        size = np.array([size_of(example.media, example.mime)])
        window = random_windows(size, self.augment, draws)[0]
        return cropped(example.media, example.mime, window, side_px)
