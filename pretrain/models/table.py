"""The `[model]` table of a training recipe: which families there are. A new one is entered here."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated

from pydantic import Field
from torch import nn

from pretrain.encoders.text import Vocabulary
from pretrain.models.captioner import Captioner, CaptionerConfig
from pretrain.models.fission import FissionConfig, fission
from pretrain.models.parallel import DualEncoder, ModelConfig
from pretrain.models.single_stream import SingleStreamConfig, single_stream

AnyModelConfig = Annotated[
    ModelConfig | SingleStreamConfig | FissionConfig | CaptionerConfig, Field(discriminator="family")
]
"""The settings of a model of any family, told apart by `family`."""


def build_model(config: AnyModelConfig, vocabulary: Vocabulary, heads: Set[str]) -> nn.Module:
    """The model of any family, with first weights by torch's generator, and the heads that its objectives need."""
    if isinstance(config, SingleStreamConfig):
        return single_stream(config, vocabulary, heads)
    if isinstance(config, FissionConfig):
        return fission(config, vocabulary, heads)
    if isinstance(config, CaptionerConfig):
        return Captioner(config, vocabulary, heads)
    return DualEncoder(config, vocabulary)
