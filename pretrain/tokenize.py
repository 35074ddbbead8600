"""The tokenizer: a byte-level BPE trained on the dataset's own texts, or one from a folder.

Training reads texts from the shard index, in its order, so the same dataset gives the same tokenizer, byte for
byte. It is stored as a folder that `transformers.AutoTokenizer.from_pretrained` opens.
Byte-level BPE: Radford et al. 2019; lower-casing and the start and end tokens as in CLIP, arXiv:2103.00020.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.errors import RecipeError
from pipeline.recipe import RecipeTable
from pretrain.encoders.text import Vocabulary

START, END, PADDING, MASK = "<|startoftext|>", "<|endoftext|>", "<|padding|>", "<|mask|>"
_SPACE = "Ġ"
"""What a space looks like in the tokens of byte-level BPE."""


class TokenizerConfig(RecipeTable):
    """The `[tokenizer]` table of a training recipe."""

    vocabulary: int = Field(ge=300)
    """Number of tokens to train, at most; 256 of them are the bytes."""
    max_texts: int = Field(ge=1)
    """Train on the first so many texts of the dataset."""
    folder: str | None = None
    """A folder with a ready tokenizer, as `save_pretrained` writes it; none trains one on the dataset."""


@dataclass(frozen=True, slots=True)
class WordTable:
    """What an objective that hides words must know of the vocabulary: ids, all of them."""

    mask: int
    """Stands where a word was."""
    special: tuple[int, ...]
    """No part of any text: start, end, padding, mask and the like."""
    goes_on: tuple[int, ...]
    """Tokens that go on the word before them."""
    ordinary: tuple[int, ...]
    """All that are not special."""


class Tokenizer:
    """Texts in, padded token ids out."""

    def __init__(self, folder: Path, context_tokens: int) -> None:
        from transformers import AutoTokenizer

        self.fast: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        for ours, berts in (("bos_token", "cls_token"), ("eos_token", "sep_token")):
            if getattr(self.fast, ours) is None:
                setattr(self.fast, ours, getattr(self.fast, berts))
        wanted = ("bos_token_id", "eos_token_id", "pad_token_id")
        missing = [name for name in wanted if getattr(self.fast, name) is None]
        if missing:
            raise RecipeError(
                f"{folder}: the tokenizer has no {', '.join(missing)}; a text tower needs all three. "
                "Name another tokenizer.folder, or none to train one."
            )
        self.context_tokens = context_tokens
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loader has threads of its own
        self._backend = self.fast.backend_tokenizer  # without what transformers does around it, per text
        self._backend.enable_truncation(context_tokens)
        self._backend.no_padding()
        self._backend.encode_special_tokens = self.fast.split_special_tokens

    @property
    def vocabulary(self) -> Vocabulary:
        """What the text tower must know."""
        return Vocabulary(len(self.fast), self.fast.bos_token_id, self.fast.eos_token_id, self.fast.pad_token_id)

    def words(self) -> WordTable:
        """How words lie in tokens. Raises: RecipeError: the tokenizer has no mask token."""
        if self.fast.mask_token_id is None:
            raise RecipeError(
                f"{self.fast.name_or_path}: the tokenizer has no mask token, and an objective hides words. "
                "Name another tokenizer.folder, or none to train one."
            )
        special = sorted(self.fast.all_special_ids)
        ordinary = sorted(set(range(len(self.fast))) - set(special))
        tokens = dict(zip(ordinary, self.fast.convert_ids_to_tokens(ordinary), strict=True))
        # WordPiece marks what goes on a word; byte-level BPE what begins one, but for signs, which are their own. In
        # its tokens a character beyond ASCII is a byte of some other letter.
        if any(token.startswith(_SPACE) for token in tokens.values()):
            inner = re.compile(f"(?!{_SPACE})[A-Za-z0-9\\x80-\\U0010ffff]")
            goes_on = [id for id, token in tokens.items() if inner.match(token)]
        else:
            goes_on = [id for id, token in tokens.items() if token.startswith("##")]
        return WordTable(self.fast.mask_token_id, tuple(special), tuple(goes_on), tuple(ordinary))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Ids as int64 BL; L is the longest of these texts, at most `context_tokens`; a cut text keeps its end."""
        return self.padded(self.rows(texts))

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, cut to `context_tokens`, not padded; thread-safe."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts))]

    def padded(self, rows: Sequence[Sequence[int]], multiple: int = 1) -> Tensor:
        """Rows of ids as int64 BL; L is the longest row, rounded up to `multiple`, at most `context_tokens`."""
        lengths = np.array([len(row) for row in rows])
        width = min(-(-int(lengths.max()) // multiple) * multiple, self.context_tokens)
        tokens_BL = np.full((len(rows), width), self.fast.pad_token_id, np.int64)
        tokens_BL[np.arange(width) < lengths[:, None]] = np.concatenate([np.asarray(row, np.int64) for row in rows])
        return torch.from_numpy(tokens_BL)


def train_tokenizer(
    texts: Iterable[Sequence[str]], config: TokenizerConfig, context_tokens: int, folder: Path, *, masks: bool = False
) -> None:
    """Train on the texts of samples and write the tokenizer to `folder`; `masks`: with a token that hides words."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Regex, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as Bpe
    from tokenizers.decoders import ByteLevel
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    bpe = Bpe(BPE())
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = ByteLevel()
    # The end token takes id 1: id 2 would wake a compatibility path in transformers' CLIP.
    trainer = BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[START, END, PADDING, MASK] if masks else [START, END, PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_first(texts, config.max_texts), trainer)
    start, end = (START, bpe.token_to_id(START)), (END, bpe.token_to_id(END))
    bpe.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=[start, end])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING,
        **({"mask_token": MASK} if masks else {}),
        model_max_length=context_tokens,
        split_special_tokens=True,  # a caption that says <|endoftext|> must not end the row
    )
    fast.save_pretrained(str(folder))


def text_id(text: str) -> int:
    """63 bits that are equal for texts of equal words: case and white space do not count."""
    folded = re.sub(r"\s+", " ", text).strip().casefold()
    return int.from_bytes(hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def _first(texts: Iterable[Sequence[str]], count: int) -> Iterable[str]:
    for sample in texts:
        for text in sample:
            if count == 0:
                return
            count -= 1
            yield text
