"""The page in which the API is read and tried: all of it comes from here."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from factory_runtime.wire.paths import API_PREFIX
from tests.api.served import Served
from tests.api.site import ApiSite, somebody
from tests.browser import open_window

PAGE = f"{API_PREFIX}/docs"


@pytest.fixture(scope="module")
def nobody(shared_site: ApiSite) -> TestClient:
    return shared_site.client()


def test_the_page_is_made_of_what_this_host_has(nobody: TestClient):
    page = nobody.get(PAGE)
    assert page.status_code == 200
    named = [
        urljoin(PAGE, one) for one in re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
    ]
    kinds = {one: nobody.get(one).headers["content-type"].partition(";")[0] for one in named}
    assert kinds == {
        f"{PAGE}/swagger-ui.css": "text/css",
        f"{PAGE}/swagger-ui-bundle.js": "text/javascript",
        f"{PAGE}/begin.js": "text/javascript",
    }
    assert "://" not in page.text + nobody.get(f"{PAGE}/begin.js").text
    (described,) = re.findall(r'url: "([^"]+)"', nobody.get(f"{PAGE}/begin.js").text)
    assert nobody.get(urljoin(PAGE, described)).json()["openapi"].startswith("3.")


def test_a_browser_may_ask_nobody_else_and_show_it_in_no_other_page(nobody: TestClient):
    policy = nobody.get(PAGE).headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("img-src") == "'self' data:"
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert set(rules.values()) == {"'none'", "'self'"}


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2F__init__.py", "%2e%2e/core.py", ""])
def test_nothing_else_of_the_package_is_served(nobody: TestClient, name: str):
    assert nobody.get(f"{PAGE}/{name}", follow_redirects=False).status_code in (307, 404, 422)


@pytest.mark.soak  # a browser takes eight seconds of a processor for it
def test_a_person_gives_a_key_there_and_tries_what_it_may(shared_site: ApiSite, tmp_path: Path):
    token = shared_site.token(somebody(name="grace"))
    with Served(shared_site.app()) as served, open_window(served.url, tmp_path) as window:
        page = window.page
        window.open(PAGE)
        page.get_by_role("button", name="Authorize").click()
        page.get_by_label("auth-bearer-value").fill(token)
        page.get_by_role("button", name="Apply credentials").first.click()
        page.get_by_role("button", name="Close").first.click()
        of_me = page.locator("[id$='me_api_v1_me_get']")
        of_me.get_by_role("button").first.click()
        of_me.get_by_role("button", name="Try it out").click()
        of_me.get_by_role("button", name="Execute").click()
        of_me.locator(".live-responses-table").get_by_text("grace").wait_for()
        assert window.outside == []
