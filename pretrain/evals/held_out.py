"""Everything that is measured on the held-out split, by what the model of a recipe can do."""

from __future__ import annotations

from collections.abc import Set

from torch import Tensor

from pretrain.batch import Features, Inputs
from pretrain.evals.captioning import captioning
from pretrain.evals.rerank import Answer, Split, all_ranked, reranked
from pretrain.evals.retrieval import embed_split, recalls


def held_out(answer: Answer, heads: Set[str], split: Split) -> dict[str, float]:
    """Figures of a model that gives `heads`; the same dictionary on every rank. Collective.

    Returns: retrieval as `evals.retrieval.recalls` gives it; of a model that fuses what it retrieves, the same names
        with `_rerank` as well; of one that captions, `bleu4` and `cider`.
    """

    def embed(images_BCHW: Tensor | None, tokens_BL: Tensor | None) -> Features:
        return answer(Inputs(images_BCHW, tokens_BL))

    galleries = embed_split(embed, split.reader, split.transforms, split.config, split.world)
    if "contrast" not in heads:
        return all_ranked(answer, galleries, split)
    found = recalls(galleries)
    if "matching" in heads and split.config.rerank:
        found |= reranked(answer, galleries, split)
    if "captions" in heads:
        found |= captioning(answer, galleries, split)
    return found
