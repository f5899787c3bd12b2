"""Debian's Chromium as `make` unpacks it into target/, driven by Playwright."""

import contextlib
import os
import pathlib

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHROMIUM = ROOT / "target" / "chromium"

# Its own typeface, so that pictures look the same on every machine.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
  <match target="pattern"><test qual="any" name="family"><string>sans-serif</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
  <match target="pattern"><test qual="any" name="family"><string>system-ui</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
</fontconfig>
"""


@contextlib.contextmanager
def chromium():
    """A running browser without network traffic of its own."""
    libraries = [path for path in (CHROMIUM / "usr" / "lib").glob("*-linux-gnu")]
    libraries += [path for folder in libraries for path in folder.iterdir() if path.is_dir()]
    fonts = CHROMIUM / "fonts.conf"
    # Another browser may read it at the same time.
    fresh = CHROMIUM / f"fonts.conf.{os.getpid()}"
    fresh.write_text(FONTS.format(fonts=CHROMIUM / "usr/share/fonts", cache=CHROMIUM / "fontconfig"))
    fresh.rename(fonts)
    environment = {
        **os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries)), "FONTCONFIG_FILE": str(fonts),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM / "usr/lib/chromium/chromium", env=environment,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--font-render-hinting=none"],
        )
        try:
            yield browser
        finally:
            browser.close()
