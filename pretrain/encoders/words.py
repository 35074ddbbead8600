"""Texts as tokens for models that fuse: BERT's embeddings and layers (arXiv:1810.04805), from a transformers config.

The start token stands first and plays BERT's [CLS]. Tokens after the first end token are padding, and are not seen.
Layers are run under masks that are given here, so that one kind serves text alone, a text that looks at an image, and
a text that is read from left to right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from pretrain.encoders.first_weights import initialise
from pretrain.encoders.text import Vocabulary
from pretrain.encoders.transformer import TransformerConfig

if TYPE_CHECKING:
    from transformers import BertConfig


class WordsConfig(TransformerConfig):
    """Size of a text encoder that gives tokens. Its vocabulary is the tokenizer's."""

    context_tokens: int = Field(ge=4)
    """Longest text in tokens, start and end included; the rest is cut off."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of attention and residuals, while training; BERT: 0.1."""

    def to_transformers(self, vocabulary: Vocabulary, *, cross: bool = False) -> BertConfig:
        """The same settings in the words of transformers; `cross`: layers can look at other tokens."""
        from transformers import BertConfig

        return BertConfig(
            vocab_size=vocabulary.size,
            hidden_size=self.width,
            intermediate_size=self.mlp_width,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            max_position_embeddings=self.context_tokens,
            hidden_act=self.activation,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            pad_token_id=vocabulary.padding,
            is_decoder=cross,  # transformers has cross-attention in decoders alone; masks are given, so it is no other
            add_cross_attention=cross,
            attn_implementation="sdpa",
        )


class TiedEmbedding(nn.Embedding):
    """An embedding whose matrix also scores words: ids in, rows out; rows in, a score for every id out.

    Both ways are calls of this module, because ZeRO-3 brings parameters together for the module that is called.
    """

    def forward(self, given: Tensor) -> Tensor:
        """Rows of ids, or scores of rows."""
        if given.is_floating_point():
            return nn.functional.linear(given, self.weight)
        return super().forward(given)


class WordEmbedding(nn.Module):
    """Ids, places and a norm to token rows, as BLD; `table` also scores words."""

    def __init__(self, config: BertConfig) -> None:
        from transformers.models.bert.modeling_bert import BertEmbeddings

        super().__init__()
        self.rows = BertEmbeddings(config)
        self.rows.word_embeddings = TiedEmbedding(config.vocab_size, config.hidden_size)
        initialise(self)

    @property
    def table(self) -> TiedEmbedding:
        """The embedding of ids."""
        return self.rows.word_embeddings

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Rows of the tokens."""
        return self.rows(input_ids=tokens_BL)


class BertLayers(nn.Module):
    """Some BERT layers under a given mask; they look at images where they were built for it and are given some."""

    def __init__(self, config: BertConfig, num_layers: int) -> None:
        from transformers.models.bert.modeling_bert import BertLayer

        super().__init__()
        self.layers = nn.ModuleList([BertLayer(config) for _ in range(num_layers)])
        initialise(self)

    def forward(self, rows_BLD: Tensor, seen_BLL: Tensor, image_BPD: Tensor | None = None) -> Tensor:
        """Rows after all layers. `seen_BLL`: which column a row may look at; its second dim may be 1."""
        mask = seen_BLL[:, None]
        for layer in self.layers:
            rows_BLD = layer(rows_BLD, mask, image_BPD)
        return rows_BLD


class Words(nn.Module):
    """Embedding and bidirectional layers; the tokens and nothing pooled."""

    def __init__(self, config: WordsConfig, vocabulary: Vocabulary, num_layers: int) -> None:
        super().__init__()
        bert = config.to_transformers(vocabulary)
        self.embedding = WordEmbedding(bert)
        self.layers = BertLayers(bert, num_layers)

    def forward(self, tokens_BL: Tensor, shown_BL: Tensor) -> Tensor:
        """Token rows, as BLD."""
        return self.layers(self.embedding(tokens_BL), shown_BL[:, None])


class MixtureWords(nn.Module):
    """One stack of layers that reads a text in three ways (BLIP's mixture of encoder and decoder, arXiv:2201.12086).

    Alone; together with an image, which its cross-attention looks at; and from left to right with an image, where it
    has self-attention of its own and shares all else.
    """

    def __init__(self, config: BertConfig, num_layers: int, image_width: int) -> None:
        from transformers.models.bert.modeling_bert import BertAttention

        super().__init__()
        self.embedding = WordEmbedding(config)
        self.bridge = bridge(image_width, config.hidden_size)
        self.layers = BertLayers(config, num_layers)
        self.causal = initialise(nn.ModuleList([BertAttention(config, is_causal=True) for _ in range(num_layers)]))

    def forward(self, tokens_BL: Tensor, shown_BL: Tensor) -> Tensor:
        """Token rows of texts alone, as BLD."""
        return self.layers(self.embedding(tokens_BL), shown_BL[:, None])

    def fuse(self, image_NPD: Tensor, rows_NLD: Tensor, shown_NL: Tensor) -> Tensor:
        """Rows of texts that see images, from their embeddings."""
        return self.layers(rows_NLD, shown_NL[:, None], self.bridge(image_NPD))

    def tell(self, image_BPD: Tensor, tokens_BL: Tensor) -> Tensor:
        """Rows of texts that are read from left to right by who sees the image."""
        rows_BLD, image_BPD = self.embedding(tokens_BL), self.bridge(image_BPD)
        for attention, layer in zip(self.causal, self.layers.layers, strict=True):
            rows_BLD, _ = attention(rows_BLD, causal(tokens_BL)[:, None])
            rows_BLD, _ = layer.crossattention(rows_BLD, None, image_BPD)
            rows_BLD = layer.feed_forward_chunk(rows_BLD)
        return rows_BLD


class WordHead(nn.Module):
    """From rows to a score for every word, through the embedding's own matrix, as BERT has it."""

    def __init__(self, config: BertConfig) -> None:
        from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        initialise(self)

    def forward(self, rows_MD: Tensor, table: TiedEmbedding) -> Tensor:
        """Scores of rows that are one list, as MV."""
        return table(self.transform(rows_MD)) + self.bias


def bridge(width: int, wanted: int) -> nn.Module:
    """A linear map where widths differ, else nothing."""
    return nn.Identity() if width == wanted else initialise(nn.Linear(width, wanted))


def causal(tokens_BL: Tensor) -> Tensor:
    """Every place sees itself and those before it, as bool 1LL; what comes after an end can then reach no text."""
    length = tokens_BL.shape[1]
    return torch.ones(1, length, length, dtype=torch.bool, device=tokens_BL.device).tril()


def shown(tokens_BL: Tensor, end: int) -> Tensor:
    """Which tokens are text, as bool: all up to the first end token, and that too; what follows is padding."""
    ends_BL = (tokens_BL == end).long()
    return ends_BL.cumsum(dim=1) - ends_BL == 0
