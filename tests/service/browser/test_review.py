"""Review on the map by keys and buttons, in the system's Chromium."""

import numpy as np
import pytest

from outputs.catalogue import Catalogue
from service.access import Access
from service.tokens import TokenFile
from tests.service.browser.conftest import served
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, squares, table


@pytest.fixture
def reviewed(tmp_path):
    """A catalogue of four slicks, s1 the most doubtful; the service over it; tokens of two reviewers."""
    catalogue = Catalogue.open(tmp_path / "catalogue.gpkg")
    slicks = table("run-1", squares(4)).assign(confidence_mean=[0.9, 0.5, 0.95, 0.99], area_m2=np.full(4, 1e6))
    catalogue.publish(record("run-1", slick_count=4), SCENE, FOOTPRINT, slicks)
    tokens = TokenFile(tmp_path / "tokens.json")
    names = ("Ada", "Grace")
    look = {name: {"http_credentials": {"username": name, "password": tokens.add(name, "review")}} for name in names}
    with served(catalogue.path, access=Access(tokens, open=False)) as url:
        yield catalogue, url, look


def said(page, words):
    page.locator("#review-state", has_text=words).wait_for()


def test_slicks_are_reviewed_by_keys_and_undone(reviewed, page):
    catalogue, url, look = reviewed
    shown = page(f"{url}/map", **look["Ada"])
    shown.locator("#list li").first.wait_for()
    shown.keyboard.press("n")
    shown.wait_for_selector("#details[data-id=s1]")
    said(shown, "This slick is unreviewed.")
    shown.fill("#review-notes", "crumbs of c and r")  # letters there are no shortcuts
    shown.click("[data-review=rejected]")
    said(shown, "Saved: rejected.")
    (review,) = catalogue.reviews("s1")
    assert (review.status, review.reviewer, review.notes) == ("rejected", "Ada", "crumbs of c and r")
    shown.locator("#details-title").focus()
    shown.keyboard.press("u")
    said(shown, "Saved: unreviewed.")
    shown.keyboard.press("c")
    said(shown, "Saved: confirmed.")
    assert [one.status for one in catalogue.reviews("s1")] == ["rejected", "unreviewed", "confirmed"]
    shown.keyboard.press("n")
    shown.wait_for_selector("#details[data-id=s0]")
    shown.keyboard.press("Escape")
    shown.locator("#list", has_text="confirmed").wait_for()


def test_nothing_is_added_before_the_journal_of_the_slick_is_there(reviewed, page):
    catalogue, url, look = reviewed
    shown = page(f"{url}/map#slick=s2", **look["Ada"])
    said(shown, "This slick is unreviewed.")
    held = []
    shown.route("**/items/s3/reviews", lambda route: held.append(route))
    shown.evaluate("location.hash = 'slick=s3'")
    shown.wait_for_selector("#details[data-id=s3]")
    shown.keyboard.press("c")
    for route in held:
        route.continue_()
    said(shown, "This slick is unreviewed.")
    assert catalogue.reviews("s2") == catalogue.reviews("s3") == []


def test_a_review_of_somebody_else_is_told_and_not_overwritten(reviewed, page):
    catalogue, url, look = reviewed
    pages = [page(f"{url}/map#slick=s2", **look[name]) for name in ("Ada", "Grace")]
    for one in pages:
        said(one, "This slick is unreviewed.")
    ada, grace = pages
    ada.click("[data-review=confirmed]")
    said(ada, "Saved: confirmed.")
    grace.click("[data-review=rejected]")
    said(grace, "Meanwhile Ada has reviewed this slick: confirmed")
    assert [one.reviewer for one in catalogue.reviews("s2")] == ["Ada"]
    grace.click("[data-review=rejected]")
    said(grace, "Saved: rejected.")
    assert [(one.reviewer, one.status) for one in catalogue.reviews("s2")] == [
        ("Ada", "confirmed"),
        ("Grace", "rejected"),
    ]
