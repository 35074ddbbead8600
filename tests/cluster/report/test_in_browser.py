"""The page in a browser, where one is installed: nothing wider than the window, nothing asked of anybody."""

import re
import shutil
import subprocess
from html import escape

import pytest
from PIL import Image, ImageStat

from cluster.report.page import build_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser in PATH: {', '.join(BROWSERS)}")
MEASURE = """<script>addEventListener("load", () => {
  const page = document.documentElement, told = parent.document.documentElement, wide = [];
  for (const one of document.querySelectorAll("main *, nav *")) {
    const box = one.getBoundingClientRect();
    const held = one.closest(".scroll") || one.closest("svg");
    if (box.right > innerWidth + 1 && !held) wide.push(one.outerHTML.slice(0, 80));
  }
  told.dataset.widths = [innerWidth, page.scrollWidth].join(" ");
  told.dataset.wide = wide.join(" | ");
  told.dataset.broken = [...document.images].filter((one) => !one.naturalWidth).length;
});</script>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Call with arguments; gives what the browser wrote on stdout and stderr."""

    def call(*arguments):
        profile = tmp_path_factory.mktemp("profile")
        command = [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}",
            "--enable-logging=stderr", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        shutil.rmtree(profile, ignore_errors=True)
        return done

    return call


@pytest.fixture
def page(scored, run, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(build_page(scored.url, str(run)), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page, browse, width):
    html = page.read_text("utf-8")
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', html)[0]
    inner = escape(html.replace(policy, "").replace("</head>", f"{MEASURE}</head>"))
    # windows have a least width of their own, frames have none
    measured = page.with_name("measured.html")
    measured.write_text(
        f'<html><meta charset="utf-8"><iframe style="width:{width}px;border:0" srcdoc="{inner}"></iframe></html>',
        "utf-8",
    )
    dom = browse("--window-size=1600,900", "--dump-dom", measured.as_uri()).stdout
    root = re.search(r"<html[^>]*>", dom)[0]
    assert f'data-widths="{width} {width}"' in root
    assert 'data-wide=""' in root
    assert 'data-broken="0"' in root


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_drawn_in_light_and_dark_and_breaks_no_policy(page, browse, width, scheme):
    shot = page.with_name("shot.png")
    prefers = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    said = browse(prefers, f"--window-size={width},2400", f"--screenshot={shot}", page.as_uri()).stderr
    assert "Content Security Policy" not in said
    assert "CONSOLE" not in said
    with Image.open(shot) as image:
        assert image.width == width
        grey = image.convert("L")
        assert (grey.getpixel((width - 2, 2)) > 200) == (scheme == "light")
        assert ImageStat.Stat(grey).stddev[0] > 8  # something is on it


def test_it_prints(page, browse):
    paper = page.with_name("report.pdf")
    browse(f"--print-to-pdf={paper}", page.as_uri())
    assert paper.read_bytes().startswith(b"%PDF-")
