"""Who may use the service: tokens, scopes, hosts, limits, and the headers of every answer."""

import base64
import json
import stat

import pytest

from ingest.errors import UnreadableInput, UsageError
from service.access import LARGEST_BODY, Access, Rate
from service.app import Options, make_app
from service.tokens import TokenFile
from tests.service.conftest import Client

ITEMS = "/collections/slicks/items?limit=1"


@pytest.fixture
def tokens(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


@pytest.fixture
def closed(catalogue, tokens):
    return Client(make_app(catalogue, Options(access=Access(tokens, open=False))))


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_a_token_is_kept_as_its_hash_only(tokens):
    made = {tokens.add(name, scope) for name, scope in (("ada", "read"), ("grace", "review"), ("joan", "admin"))}
    assert len(made) == 3
    assert all(len(token) > 40 for token in made)
    content = tokens.path.read_text()
    assert not any(token in content for token in made)
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert [(one.name, one.scope) for one in tokens.list()] == [("ada", "read"), ("grace", "review"), ("joan", "admin")]
    assert {tokens.find(token).name for token in made} == {"ada", "grace", "joan"}
    assert tokens.find(made.pop()[:-1]) is None
    reader, reviewer, admin = tokens.list()
    allowed = [[one.allows(scope) for scope in ("read", "review", "admin")] for one in (reader, reviewer, admin)]
    assert allowed == [[True, False, False], [True, True, False], [True, True, True]]


def test_tokens_have_names_of_their_own_and_known_scopes(tokens):
    tokens.add("ada", "read")
    for name, scope, said in (
        ("ada", "read", "token of this name"),
        ("b", "root", "unknown scope"),
        (" ", "read", "not a name"),
    ):
        with pytest.raises(UsageError, match=said):
            tokens.add(name, scope)
    with pytest.raises(UsageError, match="no such token"):
        tokens.revoke("grace")
    tokens.path.write_text(json.dumps({"tokens": [{"name": "x"}]}))
    with pytest.raises(UnreadableInput, match="not a file of tokens"):
        tokens.list()


def test_every_request_needs_a_token_that_is_valid_now(closed, tokens):
    token = tokens.add("ada", "read")
    for path in ("/", ITEMS, "/api", "/static/pages.css", "/nowhere"):
        refused = closed(path)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
        assert refused.headers["www-authenticate"].startswith("Basic ")
    assert closed(ITEMS, bearer(token)).status_code == 200
    assert closed(ITEMS, basic("anybody", token)).status_code == 200, "as QGIS and browsers send it"
    assert closed("/api", bearer(token)).json()["security"]
    tokens.revoke("ada")
    assert closed(ITEMS, bearer(token)).status_code == 401, "revoked while the service runs"
    tokens.path.write_text("{")
    broken = closed(ITEMS, bearer(token))
    assert (broken.status_code, broken.json()["detail"]) == (503, "The tokens cannot be read.")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer  ",
        "Bearer nonsense",
        "Basic !!!",
        "Basic YWJj",
        "Digest a=b",
        "Bearer \xff",
        "Basic /////w==",
    ],
)
def test_a_malformed_or_unknown_token_is_refused_even_where_none_is_needed(catalogue, closed, tokens, header):
    tokens.add("ada", "read")
    headers = {"Authorization": header.encode("latin-1")}
    open_ = Client(make_app(catalogue, Options(access=Access(tokens, open=True))))
    for client in (closed, open_):
        answer = client(ITEMS, headers)
        assert answer.status_code == 401
        assert header.strip() == "" or header.partition(" ")[2].strip() not in answer.text or len(header) < 9
    assert open_(ITEMS).status_code == 200


def test_a_page_of_another_host_cannot_reach_an_open_service(catalogue):
    app = make_app(catalogue, Options())
    for host in ("127.0.0.1:4280", "localhost", "[::1]:4280", "LOCALHOST:1"):
        assert Client(app)(ITEMS, {"Host": host}).status_code == 200
    for host in ("evil.example.org", "127.0.0.1.example.org", "", "[::2]"):
        assert Client(app)(ITEMS, {"Host": host}).status_code == 400
    assert Client(make_app(catalogue, Options(hosts=None)))(ITEMS, {"Host": "slicks.example.org"}).status_code == 200


def test_requests_are_limited_by_client_and_the_bucket_fills_again():
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(60)] == [0.0] * 60
    assert rate.wait("a") == pytest.approx(1.0)
    assert rate.wait("b") == 0.0
    now[0] = 2.0
    assert [rate.wait("a") > 0 for _ in range(3)] == [False, False, True]
    for number in range(20_000):
        rate.wait(str(number))
        now[0] += 0.01
    assert len(rate._left) <= 10_000


def test_too_many_requests_are_told_to_wait(catalogue):
    ask = Client(make_app(catalogue, Options(requests_per_minute=3)))
    answers = [ask("/conformance") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_large_bodies_are_refused(ask):
    assert ask(ITEMS, method="POST", content=b"x" * (LARGEST_BODY + 1)).status_code == 413
    assert ask(ITEMS, {"Content-Length": "many"}, method="POST").status_code in (400, 413)


def test_every_answer_has_the_security_headers_and_none_allows_other_origins(ask):
    for path in ("/", ITEMS, "/static/pages.css", "/nowhere", f"{ITEMS}&colour=red"):
        headers = ask(path, {"Origin": "https://evil.example.org"}).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    assert ask("/static/../app.py").status_code == 404
    assert ask("/static/%2e%2e/app.py").status_code == 404
