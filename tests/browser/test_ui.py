"""The page at `/ui` in a browser: jobs from their enqueue to their end, other nodes, hostile payloads, keys, roles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS, OpenPage
from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import Node
from tests.web.callers import Callers

pytestmark = [pytest.mark.browser, pytest.mark.cluster]

expect.set_options(timeout=PATIENCE_MS)

HOSTILE = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>javascript:window.hit=1\'"><b>'
BIG = "12345678901234567890123"
VIEWS = ("#/", "#/queues", "#/queues/mail", "#/jobs", "#/jobs/1", "#/jobs/99", "#/cluster", "#/nowhere")
EVENTS = re.compile("/events")
PLACE = "place => { location.hash = place; }"


def open_ui(open_page: OpenPage, node: Node, place: str = "#/") -> Page:
    """A view, once it is shown."""
    page = open_page(f"{node.url}/ui{place}")
    page.wait_for_selector("h1")
    return page


def errors_of(page: Page) -> list[str]:
    """What the browser complains of from now on."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def enqueue_by_hand(page: Page, queue: str, payload: str) -> None:
    """Through the form."""
    page.get_by_role("button", name="Enqueue", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Queue").fill(queue)
    dialog.get_by_label("Payload").fill(payload)
    dialog.get_by_role("button", name="Enqueue", exact=True).click()


def status_of(page: Page) -> str:
    """The badge beside the title."""
    return page.locator(".head .badge").inner_text()


def expect_status(page: Page, status: str) -> None:
    """The job of the page has it, or gets it."""
    expect(page.locator(".head .badge")).to_have_text(status)


# -- a job from its enqueue to its end -----------------------------------------------------------------


def test_a_job_is_enqueued_by_hand_and_watched_until_it_is_redriven(start_node: StartNode, open_page: OpenPage) -> None:
    """Each change is shown as it happens, whoever makes it; nothing is loaded anew in between."""
    node = start_node()
    page = open_ui(open_page, node)
    complaints = errors_of(page)
    page.evaluate("window.sameDocument = true")
    enqueue_by_hand(page, "mail", f'{{"order": {BIG}, "to": "ada"}}')
    expect(page.get_by_role("heading", level=1)).to_have_text("Job 1")
    expect_status(page, "Queued")
    # A number that JavaScript cannot hold is sent and shown as it was typed.
    expect(page.get_by_label("Payload").locator("pre, :scope").last).to_contain_text(BIG)
    assert BIG.encode() in node.call("GET", "/jobs/1").data
    node.call("PATCH", "/queues/mail", {"max_attempts": 3})

    job = node.call("POST", "/jobs/dequeue", {"queue": "mail"}).body
    expect_status(page, "In progress")
    said = {"lease_token": job["lease_token"], "retryable": False, "error": "the printer is on fire"}
    node.call("POST", "/jobs/1/fail", said)
    expect_status(page, "Dead")
    expect(page.get_by_role("region", name="Errors")).to_contain_text("the printer is on fire")
    history = page.get_by_role("region", name="History").get_by_role("listitem")
    expect(history).to_have_count(3)

    page.get_by_role("button", name="Redrive").click()
    expect_status(page, "Queued")
    assert node.call("GET", "/jobs/1").body["status"] == "QUEUED"
    expect(history).to_have_count(4)
    assert page.evaluate("window.sameDocument")
    assert complaints == []


def test_a_job_is_cancelled_only_after_a_question(start_node: StartNode, open_page: OpenPage) -> None:
    """Escape is no."""
    node = start_node()
    node.call("PUT", "/jobs/enqueue", {"queue": "mail"})
    page = open_ui(open_page, node, "#/jobs/1")
    page.get_by_role("button", name="Cancel…").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert node.call("GET", "/jobs/1").body["status"] == "QUEUED"
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect_status(page, "Cancelled")


def test_jobs_are_found_by_what_they_are(start_node: StartNode, open_page: OpenPage) -> None:
    """By status, type, queue, tag and id; what is looked for is in the address."""
    node = start_node()
    node.call(
        "PUT", "/jobs/enqueue", [{"type": "a"}, {"type": "b", "queue": "mail", "tags": {"to": "ada"}}, {"type": "a"}]
    )
    node.call("POST", "/jobs/1/cancel")
    page = open_ui(open_page, node, "#/jobs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("#3")
    page.get_by_text("Cancelled", exact=True).first.click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("#1")
    assert "status=CANCELLED" in page.url
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(3)
    page.get_by_label("Tag").fill("to:ada")
    page.get_by_label("Tag").press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("#2")
    page.get_by_label("Tag").fill("")
    page.get_by_label("Type").fill("a")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(2)
    page.get_by_label("Job id").fill("2")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Job 2")


def test_a_queue_is_paused_set_and_purged(start_node: StartNode, open_page: OpenPage) -> None:
    """What the page says is what the queue is; purging asks first."""
    node = start_node()
    node.call("PUT", "/jobs/enqueue", [{"queue": "mail"}] * 3)
    page = open_ui(open_page, node, "#/queues/mail")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".head .badge")).to_have_text("Paused")
    assert node.call("GET", "/queues/mail").body["paused"]
    page.get_by_role("button", name="Change…").click()
    page.get_by_label("In progress at most").fill("7")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Settings")).to_contain_text("7 jobs")
    assert node.call("GET", "/queues/mail").body["settings"]["max_in_progress"] == 7
    page.get_by_role("button", name="Purge…").click()
    page.get_by_role("button", name="Purge", exact=True).click()
    expect(page.get_by_text("3 jobs are forgotten")).to_be_visible()
    assert node.call("GET", "/jobs/stats").body["total"] == 0


# -- other nodes -----------------------------------------------------------------------------------------


def test_the_page_goes_on_when_its_node_dies_the_leader(start_cluster: StartCluster, open_page: OpenPage) -> None:
    """It shows what happens, events included, and enqueues, through another node, without being loaded again."""
    cluster = start_cluster()
    leader = cluster.leader()
    page = open_ui(open_page, leader)
    enqueue_by_hand(page, "mail", "1")
    expect_status(page, "Queued")
    page.evaluate("window.sameDocument = true")

    leader.kill()
    others = cluster.others(leader)
    new = cluster.leader(others)
    expect(page.locator(".node")).to_have_text(re.compile("|".join(f":{node.port}$" for node in others)))
    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator(".toast")).to_contain_text("Going on with")
    job = new.call("POST", "/jobs/dequeue", {"queue": "mail"}).body
    expect_status(page, "In progress")
    new.call("POST", "/jobs/1/conclude", {"lease_token": job["lease_token"]})
    expect_status(page, "Concluded")

    page.get_by_role("link", name="Cluster").click()
    expect(page.locator("tbody .badge[data-status=LEADER]")).to_have_count(1)
    expect(page.locator("tbody .badge[data-status=DISCONNECTED]")).to_have_count(1)
    page.get_by_role("link", name="Overview").click()
    enqueue_by_hand(page, "mail", "2")
    expect(page.get_by_role("heading", level=1)).to_have_text("Job 2")
    expect_status(page, "Queued")
    assert page.evaluate("window.sameDocument")
    assert new.call("GET", "/jobs/2").body["payload"] == 2


def test_leadership_is_transferred_by_a_click(start_cluster: StartCluster, open_page: OpenPage) -> None:
    """To the node of that row, after a question."""
    cluster = start_cluster()
    leader = cluster.leader()
    chosen = str(cluster.others(leader)[0].settings["raft_addr"])
    page = open_ui(open_page, cluster.nodes[0], "#/cluster")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("button", name=f"Make {chosen} the leader").click()
    page.get_by_role("button", name="Transfer", exact=True).click()
    expect(page.locator("tbody tr", has=page.locator("[data-status=LEADER]"))).to_contain_text(chosen)
    assert cluster.leader().settings["raft_addr"] == chosen


def test_a_node_alone_that_comes_back_is_shown_again(start_node: StartNode, open_page: OpenPage) -> None:
    """Meanwhile the page says that nobody answers."""
    node = start_node()
    page = open_ui(open_page, node)
    expect(page.locator(".tile-value").first).to_have_text("0")
    node.kill()
    expect(page.locator("#notice")).to_contain_text("does not answer")
    node.start_ready()
    node.call("PUT", "/jobs/enqueue", [{}] * 5)
    expect(page.locator("#notice")).to_be_empty()
    expect(page.locator(".tile-value").first).to_have_text("5")


# -- what is hostile -------------------------------------------------------------------------------------


def test_what_is_in_a_job_stays_text(start_node: StartNode, open_page: OpenPage) -> None:
    """Wherever it stands: payload, result, type, queue, tags, consumer, errors, unique key, an event."""
    node = start_node()
    new = {
        "queue": HOSTILE.replace("/", "|"),
        "type": HOSTILE,
        "payload": {HOSTILE: HOSTILE},
        "tags": {HOSTILE.replace(":", ";"): HOSTILE},
        "unique_key": HOSTILE,
    }
    page = open_page("about:blank")
    with page.expect_response(EVENTS):
        page.goto(f"{node.url}/ui")
    node.call("PUT", "/jobs/enqueue", [new, {**new, "unique_key": "other"}])
    headers = {"Consumer-Id": HOSTILE}
    for _ in range(2):
        job = node.ask("POST", "/jobs/dequeue", {"queue": new["queue"]}, headers).body
        token = {"lease_token": job["lease_token"]}
        if job["id"] == 1:
            node.call("POST", "/jobs/1/fail", {**token, "retryable": False, "error": HOSTILE})
        else:
            node.call("POST", "/jobs/2/conclude", {**token, "result": HOSTILE})
    expect(page.locator(".activity")).to_contain_text("<img src=x")
    queue = page.evaluate("encodeURIComponent", new["queue"])
    for place in ("#/", "#/queues", f"#/queues/{queue}", "#/jobs", "#/jobs/1", "#/jobs/2", f"#/{queue}"):
        page.evaluate(PLACE, place)
        page.wait_for_selector("h1")
        if place != f"#/{queue}":
            expect(page.locator("main")).to_contain_text("<img src=x")
        assert page.evaluate("[window.hit, document.querySelectorAll('main b img, main img').length]") == [None, 0]


def test_the_browser_makes_no_html_of_text_on_this_page(start_node: StartNode, open_page: OpenPage) -> None:
    """Even if a script of the page tried to."""
    page = open_ui(open_page, start_node())
    attempt = (
        "() => { try { document.body.innerHTML = '<b>x</b>'; return 'done'; } catch (error) { return error.name; } }"
    )
    assert page.evaluate(attempt) == "TypeError"


# -- who may do what --------------------------------------------------------------------------------------


def given_tokens(start_node: StartNode, directory: Path) -> tuple[Node, Callers]:
    """A node that asks, and somebody of each role."""
    callers = Callers(directory)
    for role in ("producer", "viewer", "operator", "admin"):
        callers.add(role, role)  # type: ignore[arg-type]
    return start_node(tokens=str(callers.path)), callers


def sign_in(page: Page, secret: str) -> None:
    """Through the dialog."""
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()


def test_the_page_asks_for_a_token_and_keeps_it_in_this_tab(
    start_node: StartNode, open_page: OpenPage, tmp_path: Path
) -> None:
    """A wrong one is asked for again; another tab is asked anew; signing out forgets it."""
    node, callers = given_tokens(start_node, tmp_path)
    page = open_page(f"{node.url}/ui")
    sign_in(page, "wrong")
    expect(page.get_by_text("That token was not taken")).to_be_visible()
    page.keyboard.press("Escape")
    with page.expect_response(EVENTS):
        sign_in(page, callers.secrets["operator"])
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    node.ask("PUT", "/jobs/enqueue", {"queue": "mail"}, callers.header("operator"))
    # Events come with a ticket.
    expect(page.locator(".activity")).to_contain_text("mail")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert page.evaluate("[Object.values(sessionStorage).length, Object.keys(localStorage)]") == [1, []]
    expect(open_page(f"{node.url}/ui").get_by_label("Token")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_nobody_is_offered_what_they_may_not_do(start_node: StartNode, open_page: OpenPage, tmp_path: Path) -> None:
    """A viewer gets no buttons that change anything, a producer no lists; an operator does not transfer leadership."""
    node, callers = given_tokens(start_node, tmp_path)
    node.ask("PUT", "/jobs/enqueue", {"queue": "mail"}, callers.header("admin"))
    acts = re.compile("Enqueue|Pause|Purge|Delete|Change|Redrive|Cancel|Forget|Transfer|Make")

    page = open_page(f"{node.url}/ui")
    sign_in(page, callers.secrets["viewer"])
    for place, sign in (("#/", ".tile"), ("#/queues", "tbody tr"), ("#/queues/mail", ".facts"), ("#/jobs/1", ".facts")):
        page.evaluate(PLACE, place)
        page.wait_for_selector(sign)
        expect(page.get_by_role("button", name=acts)).to_have_count(0)

    page = open_page(f"{node.url}/ui#/jobs")
    sign_in(page, callers.secrets["producer"])
    expect(page.get_by_role("button", name="Enqueue")).to_be_visible()
    expect(page.get_by_role("navigation", name="Views").get_by_role("link")).to_have_text(["Jobs"])
    page.get_by_label("Job id").fill("1")
    page.get_by_role("button", name="Go", exact=True).click()
    expect_status(page, "Queued")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)

    page = open_page(f"{node.url}/ui#/queues/mail")
    sign_in(page, callers.secrets["operator"])
    for name in ("Enqueue", "Pause", "Purge…", "Delete…", "Change…"):
        expect(page.get_by_role("button", name=name)).to_be_visible()


# -- for everybody ----------------------------------------------------------------------------------------


def test_everything_can_be_done_with_keys(start_node: StartNode, open_page: OpenPage) -> None:
    """The first stop leads past the bar; a dialog takes the focus and gives it back; views say where one is."""
    node = start_node()
    page = open_ui(open_page, node)
    focused = "document.activeElement.textContent || document.activeElement.tagName"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Enqueue"
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type('{"by": "keys"}')
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Enqueue"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Job 1")
    assert node.call("GET", "/jobs/1").body["payload"] == {"by": "keys"}
    page.get_by_role("link", name="Queues", exact=True).first.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text("Queues")
    expect(page).to_have_title(re.compile("^Queues .* cqueue$"))
    # What is looked at anew every few seconds keeps the focus.
    page.get_by_role("button", name="Pause default").focus()
    node.call("PUT", "/jobs/enqueue", [{}] * 6)
    expect(page.locator("tbody tr").first).to_contain_text("7")
    expect(page.get_by_role("button", name="Pause default")).to_be_focused()


def test_colours_follow_the_system_and_may_be_chosen(start_node: StartNode, open_page: OpenPage) -> None:
    """The choice is kept."""
    page = open_ui(open_page, start_node())
    shown = page.locator("html")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(shown).to_have_attribute("data-theme", scheme)
    page.get_by_role("button", name="Colours: auto").click()
    page.get_by_role("button", name="Colours: light").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    page.reload()
    expect(shown).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_hinders_anybody(start_node: StartNode, browser: Browser, scheme: str, width: int) -> None:
    """By the rules of axe-core, in every view and in a dialog; and nothing is wider than the window."""
    node = start_node()
    node.call(
        "PUT", "/jobs/enqueue", [{"queue": "mail", "tags": {"to": "ada"}}, {"queue": "mail", "delay_seconds": 60}]
    )
    job = node.call("POST", "/jobs/dequeue", {"queue": "mail"}).body
    node.call("POST", "/jobs/1/fail", {"lease_token": job["lease_token"], "error": "out of paper", "retryable": False})
    node.call("POST", "/queues/mail/pause")
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{node.url}/ui")
        page.locator(".tile").first.wait_for()
        for place in VIEWS:
            page.evaluate(PLACE, place)
            page.locator("tbody tr, .tile, .timeline, .empty").first.wait_for()
            assert findings(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        page.evaluate(PLACE, "#/queues/mail")
        for name in ("Enqueue", "Change…", "Purge…"):
            page.get_by_role("button", name=name).first.click()
            assert findings(page) == []
            page.keyboard.press("Escape")


def findings(page: Page) -> list[str]:
    """What axe-core finds, be it serious or not, by rule and element."""
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {one['id']}: {json.dumps(node['target'])} {node['html'][:200]}"
        for one in found
        for node in one["nodes"]
    ]
