"""A world of painted walls that a very small network can learn in seconds, and a loop over it."""

import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image

from cluster.bootstrap.recipe import load_bootstrap
from cluster.quickstart.run import local_web_settings
from cluster.quickstart.web import LocalWeb, Page
from cluster.site import load_site

COLOURS = {"red": (200, 30, 30), "green": (30, 150, 40), "blue": (30, 60, 200), "white": (240, 240, 240),
           "black": (15, 15, 15), "yellow": (230, 210, 40)}  # fmt: skip
WORDS = ("a {} wall", "{} paint", "all of it is {}", "a {} surface", "nothing but {} here")
TRAINING = """
recipe = "tiny-clip"
batch_size = 32
steps = {steps}
augment = {{ min_area_ratio = 0.9, max_aspect = 1.0 }}
model.projection_width = 16
model.vision = {{ side_px = 16, patch_px = 8, width = 32, mlp_width = 64, num_layers = 1, num_heads = 2 }}
model.text = {{ width = 32, mlp_width = 64, num_layers = 1, num_heads = 2 }}
optimizer.lr = 1e-2
schedule.warmup_steps = 3
checkpoint.every_steps = 15
eval.every_steps = 60
"""


class Walls:
    """Lists of painted walls, and the pages behind them. `planted` are the pool's pages whose caption is wrong."""

    def __init__(self):
        rng = random.Random("walls")
        self.pages = {}
        self.seed = [self.wall(rng, f"seed/{n}.png") for n in range(120)]
        self.more = [self.wall(rng, f"more/{n}.png") for n in range(8)]
        self.pool = [self.wall(rng, f"pool/{n}.png") for n in range(120)]
        chosen = rng.sample(range(120), 30)
        self.planted = {self.pool[n][0] for n in chosen}
        for n in chosen:
            name, caption, colour = self.pool[n]
            other = rng.choice(sorted(set(COLOURS) - {colour}))
            self.pool[n] = (name, caption.replace(colour, other), colour)

    def wall(self, rng, name):
        colour = rng.choice(sorted(COLOURS))
        shade = tuple(min(255, max(0, channel + rng.randint(-12, 12))) for channel in COLOURS[colour])
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), shade).save(buffer, "PNG")
        self.pages[name] = Page(buffer.getvalue(), mime="image/png")
        return name, rng.choice(WORDS).format(colour), colour

    def write_list(self, path, url, rows):
        lines = ["url\tcaption", *(f"{url}/{name}\t{caption}" for name, caption, _ in rows)]
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def walls():
    return Walls()


@pytest.fixture(scope="session")
def web(walls):
    with LocalWeb(walls.pages) as served:
        yield served


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Path of a site without Ray that trains in one process."""
    path = tmp_path_factory.mktemp("site") / "one.toml"
    engine, train = 'place = "process"\nworkers = 2', 'launcher = "torchrun"\nworkers = 1'
    path.write_text(f'name = "one"\n[engine]\n{engine}\n[train]\n{train}\n')
    assert load_site(str(path)).train.workers == 1
    return str(path)


@pytest.fixture(scope="session")
def loop_in(walls, web):
    """Call with a folder: writes the lists and the recipe of a loop there, and gives the recipe's path."""

    def make(folder: Path, seed=walls.seed):
        walls.write_list(folder / "seed.tsv", web.url, seed)
        walls.write_list(folder / "pool.tsv", web.url, walls.pool)
        fetch = "".join(f"{setting}\n" for setting in local_web_settings(web))
        tables = [f'name = "walls"\nfolder = {json.dumps(str(folder / "out"))}\n']
        for name in ("seed", "pool"):
            path = json.dumps(str(folder / f"{name}.tsv"))
            tables.append(
                f'[{name}]\nrecipe = "table"\nname = "{name}"\nsource.path = {path}\ningest.partition_rows = 50\n'
                f"shard = {{ samples = 50, splits = {{ validation = 0.2 }} }}\nverdict.rules = []\n{fetch}"
            )
        tables.append("[network]" + TRAINING.format(steps=60))
        tables.append("[filter]\nshare = 0.75\n[train]" + TRAINING.format(steps=6))
        path = folder / "loop.toml"
        path.write_text("\n".join(tables))
        return path

    return make


@pytest.fixture
def loop(loop_in, tmp_path):
    """A loop in a folder of its own, not yet run; call with overrides."""
    path = loop_in(tmp_path)
    return lambda *overrides: load_bootstrap(str(path), overrides)
