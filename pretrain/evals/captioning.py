"""Captions of held-out images, the likeliest word at a time, against the texts of the split."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.batch import Inputs
from pretrain.evals.caption_scores import bleu, cider
from pretrain.evals.rerank import Answer, Split
from pretrain.evals.retrieval import Galleries, in_blocks, read_images
from pretrain.tokenize import Tokenizer


def captioning(answer: Answer, galleries: Galleries, split: Split) -> dict[str, float]:
    """`bleu4` in [0, 1] and `cider` in [0, 10], and `cider_shuffled`, what captions of other images get. Collective."""
    captions = captions_of(answer, galleries, split)
    texts: list[list[str]] = [[] for _ in captions]
    for image, text in sorted(galleries.pairs):
        texts[image].append(galleries.texts[text])
    kept = [(caption, others) for caption, others in zip(captions, texts, strict=True) if others]
    said, references = [caption for caption, _ in kept], [others for _, others in kept]
    moved = said[1:] + said[:1]
    return {
        "bleu4": bleu(said, references),
        "cider": cider(said, references),
        "cider_shuffled": cider(moved, references),
    }


def captions_of(answer: Answer, galleries: Galleries, split: Split) -> list[str]:
    """A caption for each image of the gallery. Every rank makes as many forwards as every other."""
    tokenizer = split.transforms.tokens
    assert isinstance(tokenizer, Tokenizer), "captions are words again only through the tokenizer"

    def tell(start: int, stop: int) -> list[str]:
        images_BCHW, _ = read_images(split.reader, galleries.positions[start:stop], split.transforms.side_px)
        tokens_BL = greedy(answer, images_BCHW.to(split.world.device), tokenizer)
        return [text.strip() for text in tokenizer.fast.batch_decode(tokens_BL.tolist(), skip_special_tokens=True)]

    blocks = in_blocks(tell, len(galleries.positions), split.config.block, split.world)
    return [caption for block in blocks for caption in block]


def greedy(answer: Answer, images_BCHW: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Token ids as BL, with the start token and without the end: padding stands from there on."""
    vocabulary = tokenizer.vocabulary
    size = (len(images_BCHW), 1)
    tokens_BL = torch.full(size, vocabulary.start, device=images_BCHW.device)
    ended_B = torch.zeros(len(images_BCHW), dtype=torch.bool, device=images_BCHW.device)
    asked_B1 = torch.full(size, vocabulary.padding, device=images_BCHW.device)  # the place whose word is asked for
    for _ in range(tokenizer.context_tokens - 1):
        features = answer(Inputs(images_BCHW, torch.cat([tokens_BL, asked_B1], dim=1), captions=True))
        assert features.next_words_MV is not None
        next_B = features.next_words_MV.view(len(images_BCHW), tokens_BL.shape[1], -1)[:, -1].argmax(dim=1)
        ended_B |= next_B == vocabulary.end
        # Padding instead of the end token, after which no place would be read.
        tokens_BL = torch.cat([tokens_BL, next_B.masked_fill(ended_B, vocabulary.padding)[:, None]], dim=1)
    return tokens_BL
