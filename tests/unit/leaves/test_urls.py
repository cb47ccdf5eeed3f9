"""Which URLs an operator may give."""

from __future__ import annotations

import pytest

from calltriage.leaves.urls import base_url, check_proxy, http_url

GOOD = ["https://a.example", "http://127.0.0.1:8765", "https://a.example:8443/path/", "http://[::1]:80"]
WITH_MORE = ["https://u@a.example", "https://u:p@a.example", "https://a.example?x=1", "https://a.example#x",
             "https://a.example?", "https://a.example#"]  # fmt: skip
NONE = [
    "", "a.example", "ftp://a.example", "https://", "https:///path", "https://a.example:0", "https://a.example:x",
    "https://a.example:70000", "https://a b.example", "https://ä.example", "https://a.example\n", "http://[::1",
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_scheme_host_port_and_path_are_a_base_url(url: str) -> None:
    assert base_url(url) == http_url(url)
    assert base_url(url).hostname


@pytest.mark.parametrize("url", WITH_MORE)
def test_a_base_url_has_no_user_query_or_fragment(url: str) -> None:
    http_url(url)
    with pytest.raises(ValueError, match="scheme, host and path"):
        base_url(url)


@pytest.mark.parametrize("url", NONE)
def test_what_is_no_url_is_refused_without_being_shown(url: str) -> None:
    for check in (http_url, base_url, check_proxy):
        with pytest.raises(ValueError, match=r"URL|must be") as caught:
            check(url)
        assert url in {"", "https://"} or url not in str(caught.value)


def test_a_proxy_may_name_its_user_and_no_path() -> None:
    check_proxy("http://user:password@proxy.example:3128")
    with pytest.raises(ValueError, match="must be http"):
        check_proxy("http://proxy.example:3128/path")
