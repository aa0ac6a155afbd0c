import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from study_world import ORIGIN, Browser, filled, hidden, tiny_study

from repro.study.access import Access, RateLimit, check_origin
from repro.study.app import Settings
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.errors import RefusedError, StudyError
from repro.study.guard import MAX_BODY
from repro.study.serving import Where, build_app, checked_url, serve

SETTINGS = Settings(origins=(ORIGIN,), rate=1e6, guesses=1e6)


class Server:
    """A study that is served, and the links to it."""

    def __init__(self, study: Study, settings: Settings = SETTINGS) -> None:
        self.study, self.app = study, build_app(study, settings)
        self.database = Database(study.database)
        self.access = Access(self.database)

    def client(self) -> TestClient:
        return TestClient(self.app, base_url=ORIGIN)

    def browser(self, name: str) -> Browser:
        """Somebody who has just been invited, at the first page."""
        browser = Browser(self.client())
        assert browser.enter(self.access.invite([name], days=1)[name]).status_code == 200
        return browser

    def votes(self, name: str) -> int:
        found: int = self.database.value(
            "SELECT count(*) FROM assignment JOIN assessor ON id = assessor WHERE choice IS NOT NULL AND name = ?", name
        )
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tiny_study(tmp_path_factory.mktemp("app"), criteria=["defects", "relevance"]))


@pytest.fixture
def voter(server: Server, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A new assessor for each test, who is gone afterwards."""
    name = re.sub(r"\W", "", request.node.name)[:40]
    yield server.browser(name)
    server.access.revoke([name])


def test_a_whole_study_without_scripts(tmp_path: Path) -> None:
    server = Server(tiny_study(tmp_path, criteria=["defects"], prompts=2, language="de"))
    browser = server.browser("A1")
    assert browser.vote_all() in {4, 5}  # two examples, two pairs, and a check or none
    finished = browser.client.get("/finish")
    assert "Vielen Dank" in finished.text
    assert '<html lang="de">' in finished.text


def test_training_says_what_was_expected_and_pairs_do_not(voter: Browser) -> None:
    page = voter.next()
    assert "Example" in page.text
    token = page.url.path.removeprefix("/pair/")
    assert voter.client.get(f"/feedback/{token}").status_code == 403, "not before the answer"
    feedback = voter.vote(page, "tie")
    assert "Another answer was expected." in feedback.text
    page = voter.vote(voter.next(), "left")
    assert re.search("That is the expected answer|Another answer was expected", page.text)
    page = voter.next()
    assert "Example" not in page.text
    assert "/feedback" not in voter.vote(page, "left").url.path


def test_nothing_on_a_page_tells_the_systems(server: Server, voter: Browser) -> None:
    page = voter.next()
    while "Example" in page.text:
        voter.vote(page, "left")
        page = voter.next()
    images = re.findall(r'<img src="(/image/[\w-]+)"', page.text)
    answers = [voter.client.get(path) for path in images]
    assert len(answers) == 2
    assert [answer.headers["content-type"] for answer in answers] == ["image/png"] * 2
    said = page.text + "".join(str(answer.headers) for answer in answers)
    assert not re.search(
        "ours|theirs|png|[0-9a-f]{64}", said.replace(hidden(page.text)["csrf"], "").replace("image/png", "")
    )
    assert all(answer.headers["cache-control"].startswith("private") for answer in answers)
    assert not {"last-modified", "etag"} & set(answers[0].headers)


def test_the_parts_of_a_question_are_asked_and_kept(server: Server, voter: Browser) -> None:
    page = voter.next()
    fields = filled(page.text, "right")
    parts = [name for name in fields if name.startswith("part.")]
    assert len(parts) == 3
    del fields[parts[1]]
    answer = voter.client.post(page.url.path, data=fields, headers=voter.headers)
    assert answer.status_code == 422
    assert "Please answer every question" in answer.text
    assert answer.text.count("checked") == len(parts), "what was answered is still there"
    voter.vote(page, "right")
    again = voter.client.get(page.url.path)
    assert again.text.count("checked") == len(parts) + 1
    assert "A new answer takes the place of the old one" in again.text


def test_back_shows_the_last_pair_and_changes_its_answer(server: Server, voter: Browser) -> None:
    page = voter.next()
    while "Example" in page.text:
        voter.vote(page, "left")
        page = voter.next()
    following = voter.vote(page, "left")
    back = re.search(r'href="(/pair/[\w-]+)" data-back', following.text)
    assert back
    assert back[1] == page.url.path
    after = voter.vote(voter.client.get(back[1]), "right")
    assert after.url.path == following.url.path
    token = page.url.path.removeprefix("/pair/")
    rows = server.database.rows("SELECT choice, revision FROM assignment WHERE token = ?", token)
    assert [tuple(row) for row in rows] == [("right", 2)]


def test_two_browsers_with_one_link_do_not_double_a_vote(server: Server) -> None:
    token = server.access.invite(["both"], days=1)["both"]
    one, other = Browser(server.client()), Browser(server.client())
    one.enter(token)
    other.enter(token)
    page, same = one.next(), other.next()
    assert page.url.path == same.url.path
    one.vote(page, "left")
    again = other.vote(same, "left")
    assert again.status_code == 200, "the same answer: nothing to say"
    differing = other.vote(same, "right")
    assert differing.status_code == 409
    assert "answered in another window" in differing.text
    assert server.votes("both") == 1
    assert server.database.value("SELECT choice FROM assignment WHERE token = ?", page.url.path[6:]) == "left"


def test_pausing_ends_the_session_and_the_link_goes_on_where_it_was(server: Server) -> None:
    token = server.access.invite(["pauses"], days=1)["pauses"]
    browser = Browser(server.client())
    browser.enter(token)
    voted = browser.vote(browser.next(), "left")
    assert voted.status_code == 200
    page = browser.next()
    paused = browser.client.post("/pause", data={"csrf": hidden(page.text)["csrf"]}, headers=browser.headers)
    assert "Your answers are kept" in paused.text
    assert browser.client.get("/next").status_code == 403
    browser.enter(token)
    assert browser.next().url.path == page.url.path
    assert server.votes("pauses") == 1


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"choice": "both"}, 422, "not one of those offered"),
        ({"part.composition": "<b>"}, 422, "not one of those offered"),
        ({"revision": "-1"}, 422, "not one of those offered"),
        ({"criterion": "beauty"}, 422, "This question is not known"),
        ({"csrf": "0" * 64}, 403, "did not come from this page"),
        ({"csrf": ""}, 403, "did not come from this page"),
        ({"csrf": "\u00fc" * 64}, 403, "did not come from this page"),
    ],
)
def test_a_form_that_is_not_as_expected_saves_nothing(
    server: Server, change: dict[str, str], status: int, said: str
) -> None:
    browser = server.browser("forger")
    before = server.votes("forger")
    page = browser.next()
    fields = {**filled(page.text, "left"), **change}
    answer = browser.client.post(page.url.path, data=fields, headers=browser.headers)
    assert answer.status_code == status
    assert said in answer.text
    assert server.votes("forger") == before


def test_a_vote_for_a_pair_of_another_is_refused(server: Server, voter: Browser) -> None:
    other = server.browser("other")
    page, theirs = voter.next(), other.next()
    answer = voter.client.post(theirs.url.path, data=filled(page.text, "left"), headers=voter.headers)
    assert answer.status_code == 403
    assert "not assigned to you" in answer.text
    assert server.votes("other") == 0
    image = re.search(r'src="(/image/[\w-]+)"', theirs.text)
    assert image
    assert voter.client.get(image[1]).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_forms_of_other_sites_are_refused(server: Server, voter: Browser, headers: dict[str, str]) -> None:
    page = voter.next()
    voter.headers = headers
    assert voter.vote(page, "left").status_code == 403
    with pytest.raises(RefusedError):
        check_origin(headers.get("origin"), headers.get("sec-fetch-site"), [ORIGIN])


def test_no_page_without_a_link(server: Server) -> None:
    client = server.client()
    for path in ("/", "/next", "/pair/x", "/image/x", "/feedback/x", "/finish", "/admin"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "Please open the link" in answer.text
    for path in ("/pair/x", "/more", "/pause"):
        assert client.post(path, data={"choice": "left"}, headers={"origin": ORIGIN}).status_code == 403
    assert client.get("/nothing").status_code == 404
    assert client.put("/next").status_code == 405


def test_links_that_are_wrong_expired_or_withdrawn_say_so(server: Server) -> None:
    browser = server.browser("leaves")
    token = server.access.invite(["late", "gone"], days=1)
    assert "This link is not known" in browser.enter("wrong").text
    server.access.revoke(["gone"])
    assert "was withdrawn" in browser.enter(token["gone"]).text
    server.database.write("UPDATE assessor SET expires = 1 WHERE name = 'late'")
    assert "has expired" in browser.client.get(f"/enter/{token['late']}").text
    server.access.revoke(["leaves"])
    answer = browser.next()
    assert answer.status_code == 403
    assert "was withdrawn" in answer.text, "a session ends with its link"
    with pytest.raises(StudyError, match="nobody was invited as 'nobody'"):
        server.access.revoke(["nobody"])


def test_a_link_is_kept_as_a_hash_and_becomes_a_strict_cookie(server: Server) -> None:
    token = server.access.invite(["hashed"], days=1)["hashed"]
    everything = "\n".join(str(tuple(row)) for row in server.database.rows("SELECT * FROM assessor"))
    assert token not in everything
    answer = server.client().post("/enter", data={"token": token}, headers={"origin": ORIGIN}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token not in answer.headers["location"]


def test_the_page_of_the_state_has_a_link_of_its_own(server: Server, voter: Browser) -> None:
    assert voter.client.get("/admin").status_code == 403
    admin = Browser(server.client())
    page = admin.enter(server.access.invite(["boss"], days=1, role="admin")["boss"])
    assert page.url.path == "/admin"
    assert "State of the study: tiny" in page.text
    assert admin.next().status_code == 403, "who runs it does not vote"
    with pytest.raises(StudyError, match="another role"):
        server.access.invite(["boss"], days=1)


def test_headers_of_security_stand_on_every_answer(server: Server, voter: Browser) -> None:
    for path in ("/next", "/nothing", "/static/study.js", "/finish"):
        headers = voter.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert voter.next().headers["cache-control"] == "private, no-store"
    assert "style=" not in voter.next().text
    assert "<script>" not in voter.next().text


def test_captions_are_escaped(server: Server, voter: Browser) -> None:
    server.database.write("UPDATE task SET caption = '<script>alert(1)</script>'")
    page = voter.next()
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text


def test_large_bodies_are_refused_unread(voter: Browser) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10 * 1024):
            sent += 1024
            yield b"x" * 1024

    said = voter.client.post("/pair/x", content=b"x" * 10_000_000, headers=voter.headers)
    assert said.status_code == 413
    assert "too large" in said.text
    unsaid = voter.client.post("/pair/x", content=body(), headers=voter.headers)
    assert unsaid.status_code == 413
    assert voter.client.post("/pair/x", content=b"x" * MAX_BODY, headers=voter.headers).status_code == 403


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    server = Server(tiny_study(tmp_path, prompts=9))
    browser = server.browser("A1")
    page, kept = browser.next(), 0
    limit = "PRAGMA max_page_count = "
    database = server.app.state.database
    database.rows(f"{limit}{database.value('PRAGMA page_count')}")
    while True:
        page = browser.vote(page, "left")
        if page.status_code != 200:
            break
        page = browser.next() if "/feedback" in page.url.path else page
        kept = server.votes("A1")
    assert page.status_code == 507
    assert "the disk of the server is full" in page.text
    database.rows(f"{limit}1000000")
    assert server.votes("A1") >= kept
    assert browser.next().status_code == 200


def test_too_many_requests_wait(tmp_path: Path) -> None:
    server = Server(tiny_study(tmp_path, prompts=2), Settings(origins=(ORIGIN,), rate=1.0, guesses=1.0))
    client = server.client()
    answers = [client.get(f"/enter/guess{number}") for number in range(12)]
    assert {answer.status_code for answer in answers} == {403, 429}
    assert answers[-1].headers["retry-after"] == "5"


def test_a_bucket_fills_again() -> None:
    now = 0.0
    limit = RateLimit(2, 3, lambda: now)
    for _ in range(3):
        limit.check("a")
    with pytest.raises(RefusedError, match="too_many"):
        limit.check("a")
    limit.check("b")
    now = 0.5
    limit.check("a")
    with pytest.raises(RefusedError):
        limit.check("a")


def test_another_host_is_refused(server: Server) -> None:
    assert server.client().get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_server_that_others_reach_needs_its_address(server: Server) -> None:
    with pytest.raises(StudyError, match=r"0\.0\.0\.0 is reached by others: say the address"):
        serve(server.study, Where(host="0.0.0.0", port=0))
    with pytest.raises(StudyError, match=r"--url is 'study\.example'"):
        checked_url("study.example")
    assert checked_url("https://Study.example/") == "https://study.example"
    assert checked_url("https://study.example:443") == "https://study.example"
    assert checked_url("http://[::1]:8765") == "http://[::1]:8765"
    for wrong in ("https://[bad", "https://a:b", "https://user:word@a", "ftp://a", "https://a/path", "https://a#b"):
        with pytest.raises(StudyError, match="expected an address such as"):
            checked_url(wrong)


def test_the_server_knows_its_names_with_and_without_ports_and_brackets() -> None:
    settings = Settings(origins=["https://[2001:db8::1]:8000", "http://127.0.0.1:80", "https://study.example"])
    assert settings.hosts == ["127.0.0.1", "2001:db8::1", "[2001:db8::1]", "study.example"]


def test_a_fault_of_the_server_is_answered_with_the_headers_of_every_page(tmp_path: Path) -> None:
    server = Server(tiny_study(tmp_path, criteria=["defects"], prompts=2))
    server.app.state.database.close()
    answer = TestClient(server.app, base_url=ORIGIN, raise_server_exceptions=False).get("/enter/none")
    assert answer.status_code == 500
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "private, no-store"
