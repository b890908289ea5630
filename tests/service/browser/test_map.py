"""The map as a person uses it, in the system's Chromium."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.service.browser.conftest import served
from tests.support.map_images import SPOT


def picture(page, selector="#map"):
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(int)


def reddish(pixels):
    return int(((pixels[..., 0] > 200) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)).sum())


def greyish(pixels):
    brightness = pixels.max(axis=-1)
    return float(((np.ptp(pixels, axis=-1) < 3) & (brightness > 60) & (brightness < 240)).mean())


def counted(page, words):
    page.locator("#results-count", has_text=words).wait_for()


def settled(page):
    """The map has drawn what it has asked for: two looks at it are the same."""
    page.locator("#results-count:not(:empty)").wait_for()
    page.wait_for_load_state("networkidle")
    before = picture(page)
    for _ in range(60):
        page.wait_for_timeout(250)
        now = picture(page)
        if np.array_equal(before, now):
            return now
        before = now
    raise AssertionError("the map does not come to rest")


def test_slicks_lie_over_the_radar_image_and_are_listed(address, page):
    shown = page(f"{address}/map#map=6.5/58.0/3.2")
    pixels = settled(shown)
    assert reddish(pixels) > 20
    assert greyish(pixels) > 0.1  # the sea of the scene
    counted(shown, "120 slicks; the 50 of highest confidence")
    assert shown.locator("#list li").count() == 50
    shown.check("[name=picture][value=none]")
    assert greyish(settled(shown)) < greyish(pixels) / 2


def test_a_click_on_a_slick_shows_all_that_is_known_of_it(address, page):
    shown = page(f"{address}/map#map=12/57.005/20.005")
    settled(shown)
    box = shown.locator("#map").bounding_box()
    shown.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.wait_for_selector("#details[data-id=east]")
    rows = dict(row.split("\t", 1) for row in shown.locator("#attributes").inner_text().splitlines() if "\t" in row)
    assert rows["Area (m²)"].strip() == "1,000,000"
    assert "not known" in rows.values()
    shown.locator("#picture-state", has_text="no radar and no probability image").wait_for()
    assert "slick=east" in shown.url
    shown.keyboard.press("Escape")
    shown.wait_for_selector("#overview:not([hidden])")
    assert "slick=" not in shown.url


def test_filters_narrow_the_list_the_downloads_and_the_tiles(address, page):
    shown = page(f"{address}/map#map=6.5/58.0/3.2")
    shown.click("summary")
    with shown.expect_request(lambda one: "/map/slicks/" in one.url and "area_m2" in one.url):
        shown.fill("[name=least]", "1.1")
        shown.keyboard.press("Tab")
    counted(shown, "10 slicks")
    assert "(1 set)" in shown.locator("#filter-count").inner_text()
    with shown.expect_download() as download:
        shown.click("#downloads a[data-format=csv]")
    assert len(download.value.path().read_text(encoding="utf-8").splitlines()) == 11
    shown.click("text=Clear all filters")
    counted(shown, "120 slicks;")


def test_an_address_restores_view_filters_and_selection(address, page):
    shown = page(f"{address}/map")
    shown.click("summary")
    shown.fill("[name=from]", "2021-01-19")
    shown.fill("[name=box]", "1, 56, 5, 60")
    shown.keyboard.press("Tab")
    shown.uncheck("[name=status][value=rejected]")
    shown.check("[name=candidates]")
    shown.click("#list button >> nth=0")
    shown.wait_for_selector("#details:not([hidden])")
    id = shown.locator("#details").get_attribute("data-id")
    again = page(shown.url)
    again.wait_for_selector(f"#details[data-id='{id}']")
    assert again.input_value("[name=from]") == "2021-01-19"
    assert again.input_value("[name=box]") == "1, 56, 5, 60"
    assert not again.is_checked("[name=status][value=rejected]")
    assert again.is_checked("[name=candidates]")
    view = re.search(r"map=[^&]*", shown.url).group()
    assert view in again.url


def test_swipe_shows_radar_and_probability_side_by_side(address, page):
    shown = page(f"{address}/map#map=9/{SPOT[1]}/{SPOT[0]}&picture=swipe&divider=50&scenes=0", "#over[data-loaded=yes]")
    settled(shown)
    pixels = picture(shown, "#stage")
    middle, centre = pixels.shape[0] // 2, pixels.shape[1] // 2
    left, right = pixels[middle, centre - 12], pixels[middle, centre + 12]
    assert np.ptp(left) < 4
    assert left.max() < 120  # the dark block in the radar image
    assert right[2] > right[1] + 20  # violet: the probability of oil
    shown.locator("#divider").focus()
    for _ in range(10):
        shown.keyboard.press("ArrowLeft")
    assert "divider=40" in shown.url


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_everybody_can_use_it(address, page, look):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    phone = {"viewport": {"width": 375, "height": 720}, "has_touch": True, "is_mobile": True}
    shown = page(f"{address}/map", **({"color_scheme": "dark"} if look == "dark" else phone if look == "phone" else {}))
    shown.wait_for_selector("#list li")
    shown.click("summary")
    faults = axe.Axe().run(shown).response["violations"]
    shown.click("#list button >> nth=0")
    shown.wait_for_selector("#attributes tr")
    faults += axe.Axe().run(shown).response["violations"]
    grave = [one for one in faults if one["impact"] in ("serious", "critical")]
    assert [f"{one['id']}: {one['nodes'][0]['html'][:90]}" for one in grave] == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_is_used_by_keyboard_alone(address, page):
    shown = page(f"{address}/map")
    shown.wait_for_selector("#list li")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.className") == "skip"
    shown.keyboard.press("Enter")
    for _ in range(2):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.matches('#list button')"):
            break
    id = shown.evaluate("document.activeElement.dataset.id")
    shown.keyboard.press("Enter")
    shown.wait_for_selector(f"#details[data-id='{id}']")
    assert shown.evaluate("document.activeElement.id") == "details-title"
    shown.keyboard.press("Escape")
    assert shown.evaluate("document.activeElement.dataset.id") == id


def test_what_cannot_be_shown_is_said(page, tmp_path):
    with served(tmp_path / "gone.gpkg") as url:
        shown = page(f"{url}/map", "#notice:not([hidden])")
        assert "catalogue" in shown.locator("#notice").inner_text().lower()
