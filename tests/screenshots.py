"""Pictures of the console for the documentation, from the real `pathlane up` with the demonstration's cases.

    python -m tests.screenshots            writes docs/images/*.png

In: the demonstration's photographs and drawn tiles, Debian's Chromium. Out: worklist, case, review, deliveries and
workers, at 1280 px and on a phone, in both colour schemes where that shows something. Each is kept below LARGEST.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from integrations import stack
from integrations.demo import cases, show
from tests.conftest import ROOT
from tests.console import browser

IMAGES = ROOT / "docs" / "images"
LARGEST = 300_000
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SECONDS = 300


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pathlane-shots-", ignore_cleanup_errors=True) as folder:
        data = Path(folder)
        made = cases.make(show.make_folder(data))
        with stack.running(data, port=0, output=data / "log") as up, browser() as chrome:
            ids = submitted(up, made)
            page = signed_in(chrome, up.console, WIDE, "light")
            page.locator("tr[data-group=ended]").nth(len(made) - 1).wait_for()
            kept(page, "console-worklist")
            case(page, up.url, ids)
            kept(page, "console-case")
            review(page)
            kept(page, "console-review")
            opened(page, up.url, "#/deliveries", "main .card")
            kept(page, "console-deliveries")
            opened(page, up.url, "#/workers", ".chart")
            page.wait_for_timeout(6000)
            kept(page, "console-workers")
            again(chrome, page, up.url, ids)


def again(chrome: Any, page: Any, url: str, ids: list[str]) -> None:
    """The same session in the dark, and on a phone."""
    state = page.context.storage_state()
    dark = chrome.new_context(viewport=WIDE, color_scheme="dark", storage_state=state).new_page()
    phone = chrome.new_context(
        viewport=PHONE, device_scale_factor=1.5, is_mobile=True, has_touch=True, storage_state=state
    ).new_page()
    for other, name in ((dark, "console-case-dark"), (phone, "console-case-phone")):
        other.set_default_timeout(SECONDS * 1000)
        case(other, url, ids)
        kept(other, name)
    opened(phone, url, "", "tr[data-group]")
    kept(phone, "console-worklist-phone")


def submitted(up: stack.Stack, made: list[cases.Case]) -> list[str]:
    headers = {"authorization": f"Bearer {up.api_key}"}
    with httpx.Client(base_url=up.url, headers=headers, timeout=60, trust_env=False) as client:
        nobody = {"name": "lis", "url": "http://127.0.0.1:9/pathlane"}  # so that something fails
        client.post("/v1/endpoints", json=nobody).raise_for_status()
        return [show.submit(client, case) for case in made]


def signed_in(chrome: Any, link: str, size: dict[str, int], scheme: str) -> Any:
    page = chrome.new_context(viewport=size, color_scheme=scheme).new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(link)
    return page


def opened(page: Any, url: str, address: str, ready: str) -> None:
    page.goto(f"{url}/console/{address}")
    page.wait_for_selector(ready)
    page.wait_for_timeout(1500)


def case(page: Any, url: str, ids: list[str]) -> None:
    opened(page, url, f"#/jobs/{ids[0]}", ".answered")


def review(page: Any) -> None:
    page.keyboard.press("y")
    page.keyboard.type("Brown chromogen in the glands: DAB.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".reviews li")


def kept(page: Any, name: str) -> None:
    """As a palette where that loses nothing to the eye, so that it is small."""
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    file = IMAGES / f"{name}.png"
    shot.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1000} kB")
    assert file.stat().st_size < LARGEST, name


if __name__ == "__main__":
    sys.exit(main())
