"""Recipes: TOML files read into frozen, typed tables, with overrides and errors that say what to do.

A table of a recipe is a `RecipeTable` that stands beside the class that uses it. `load` reads a file, applies
`a.b=value` overrides and validates; every mistake becomes one `RecipeError` that names the file, the setting,
what was found and the nearest right thing.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import RecipeError, nearest


class RecipeTable(BaseModel):
    """Base of every table of a recipe: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def digest(self) -> str:
        """sha256 of the resolved settings; equal settings have equal digests, whatever the file looked like."""
        return digest_of(self.model_dump(mode="json"))


R = TypeVar("R", bound=RecipeTable)


def digest_of(value: Any) -> str:
    """sha256 of a JSON-like value in canonical form, as hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load(model: type[R], recipe: str, overrides: Sequence[str] = (), *, package: str) -> R:
    """Read the recipe named `recipe` into `model`.

    Args:
        recipe: path of a TOML file, or the name of a recipe shipped in `package`.recipes.
        overrides: `table.key=value` strings; the value is TOML, or a bare string where it is not.
        package: `pipeline` or `pretrain` for recipes, `cluster` for sites.
    Raises: RecipeError: no such recipe, not TOML, or settings that `model` refuses.
    """
    return check(model, read(recipe, overrides, package=package), where=str(find(recipe, package)))


def read(recipe: str, overrides: Sequence[str] = (), *, package: str) -> dict[str, Any]:
    """The tables of a recipe as its file and `overrides` have them, before a model has seen them.

    Raises: RecipeError: no such recipe, not TOML, or a malformed override.
    """
    path = find(recipe, package)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}. Correct the file at that place.") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text. Save the recipe as UTF-8.") from None
    for override in overrides:
        _apply(data, override)
    return data


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The settings `below` with those of `above` in their place, table by table."""
    both = dict(below)
    for key, value in above.items():
        under = below.get(key)
        both[key] = laid_over(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return both


def check(model: type[R], data: Mapping[str, Any], *, where: str) -> R:
    """Validate `data` as `model`; a refusal becomes a `RecipeError` that names `where`."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors()]
        raise RecipeError(f"{where}: " + "; ".join(lines)) from None


def find(recipe: str, package: str) -> Path:
    """The file of a recipe given as a path or by the name of one that ships with `package`."""
    path = Path(recipe)
    if path.is_file():
        return path
    shipped = shipped_recipes(package)
    if recipe in shipped:
        return shipped[recipe]
    if path.suffix == ".toml" or "/" in recipe:
        raise RecipeError(f"{recipe}: no such file. Give the path of a recipe, or one of: {', '.join(shipped)}.")
    raise RecipeError(f"recipe {recipe!r} does not ship with pairmill. {nearest(recipe, shipped)}")


def shipped_recipes(package: str) -> dict[str, Path]:
    """Name -> file of the recipes of `pipeline` or `pretrain`, or of the sites of `cluster`, sorted by name."""
    folder = Path(str(resources.files(package))) / ("sites" if package == "cluster" else "recipes")
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _apply(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"--set {override!r}: wanted table.key=value, such as shard.samples=1000.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word or path is a string: --set source.path=lists/cc3m.tsv
    table = data
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override!r}: {part!r} is a value, not a table, so it has no keys.")
    table[parts[-1]] = value


def _explain(model: type[BaseModel], item: Any) -> str:
    location, keys = _place(model, [str(part) for part in item["loc"]])
    name = ".".join(location) or "the recipe"
    if item["type"] == "extra_forbidden":
        return f"{name}: unknown key. {nearest(location[-1], keys)}"
    if item["type"] == "missing":
        return f"{name}: missing; it has no default, so set it"
    message = item["msg"].removeprefix("Value error, ")
    found = item.get("input")
    if isinstance(found, (str, int, float, bool)) and item["type"] != "value_error":
        return f"{name} is {found!r}: {message}"
    return f"{name}: {message}"


def _place(model: type[BaseModel], location: Sequence[str]) -> tuple[list[str], list[str]]:
    """A location as a recipe writes it, and the keys that its last table may have, as far as types tell.

    Of a table that one of its keys tells apart, pydantic names the value of that key as well; a recipe does not.
    """
    names: list[str] = []
    keys, table = list(model.model_fields), model
    parts = list(location)
    while parts:
        part = parts.pop(0)
        names.append(part)
        if table is None:
            continue
        field, keys = table.model_fields.get(part), list(table.model_fields)
        if field is not None and isinstance(field.discriminator, str) and parts:
            table = _told_apart(field.annotation, field.discriminator, parts.pop(0))
        else:
            table = None if field is None else _table_type(field.annotation)
    return names, keys


def _told_apart(annotation: Any, key: str, value: str) -> type[BaseModel] | None:
    """The one of several tables whose `key` may have this value."""
    for table in get_args(annotation):
        if value in get_args(table.model_fields[key].annotation):
            return table
    return None


def _table_type(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _table_type(argument)
        if found is not None:
            return found
    return None
