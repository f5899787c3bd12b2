"""The live page in a real Chromium, in front of a real Envoy: tests/envoy/page_test.rs runs this, and does what it is told.

    page.py SCENE http://127.0.0.1:PORT/

A line `do: WHAT` on standard output asks the test to do something; a line on standard input says that it is done.
"""

import json
import re
import sys
import urllib.parse
import urllib.request

import browser
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

# How long anything may take on a busy machine before it counts as never.
DEADLINE = 60_000
expect.set_options(timeout=DEADLINE)
HOSTILE = "<img src=x onerror=\"window.harmed=1\">"
LABEL = "<script>window.harmed=2</script>"
OTHER = "<iframe onload=window.harmed=4>"
REASON = "\"><svg onload=window.harmed=3> &amp; p99"

# How often the page has had the rollout, and how often it had when the phase said this: counted in the page, for here events
# come late on a busy machine.
POLLS = """(() => performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/v1/rollouts/digits")).length)"""
SHOWN = f"""(text => new Promise(shown => {{
    const look = () => document.querySelector(".title .phase")?.textContent.includes(text) && shown({POLLS}());
    new MutationObserver(look).observe(document.body, {{ subtree: true, childList: true, characterData: true }});
    look();
}}))"""


def do(what):
    print(f"do: {what}", flush=True)
    if not sys.stdin.readline():
        sys.exit("the test is gone")


def ask(url, path):
    with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:
        return json.load(answer)


class Watched:
    """A page, and all that its browser says and asks."""

    def __init__(self, chromium, url, **options):
        self.url = url.rstrip("/")
        self.page = chromium.new_page(**options)
        self.page.set_default_timeout(DEADLINE)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request))
        # How long the page waits before it does something.
        self.page.add_init_script(
            "const later = setTimeout; window.waits = [];"
            "window.setTimeout = (act, wait) => { window.waits.push(wait); return later(act, wait); };"
        )
        self.page.add_init_script(
            "performance.setResourceTimingBufferSize(100_000);"
            "addEventListener('securitypolicyviolation', event => console.error('violated', event.violatedDirective))"
        )

    def open(self, fragment=""):
        self.page.goto(f"{self.url}/{fragment}")

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def wait_for(self, selector, text):
        self.page.locator(selector).filter(has_text=text).first.wait_for()

    def command(self, name, reason=None, confirm=None):
        """Gives a command with the keyboard alone."""
        self.page.get_by_role("button", name=name, exact=True).first.focus()
        self.page.keyboard.press("Enter")
        dialog = self.page.get_by_role("dialog")
        dialog.wait_for()
        if reason is not None:
            dialog.get_by_label("Reason").focus()
            self.page.keyboard.insert_text(reason)
        dialog.get_by_role("button", name=confirm or name, exact=True).focus()
        self.page.keyboard.press("Enter")
        return dialog

    def tab_to(self, name):
        """Goes on with the tabulator until what has this text or label has the focus."""
        focused = "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
        for _ in range(100):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(focused).startswith(name):
                return
        raise AssertionError(f"the tabulator does not reach {name}")

    def accessible(self):
        # axe-core is put into the page as a script of its own: the policy would refuse it, a debugger may.
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    def is_quiet(self, *expected):
        """The console shows only what is expected, and every request went to this Envoy."""
        surprising = [said for said in self.said if not any(known in said for known in expected)]
        assert not surprising, surprising
        hosts = {request.url for request in self.asked if not request.url.startswith((self.url, "data:"))}
        assert not hosts, hosts
        assert self.page.evaluate("window.harmed") is None, "something of the API was run"


def follow(chromium, url):
    """Loads, follows a rollback, shows what is hostile as text, in both themes and on a phone."""
    answer = urllib.request.urlopen(url, timeout=60)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    watched = Watched(chromium, url, color_scheme="light", viewport={"width": 1280, "height": 900})
    watched.open()
    watched.wait_for("h1", "digits")
    watched.wait_for(".title p", HOSTILE)
    watched.wait_for(".phase", "Paused")
    watched.wait_for(".connection", "Live")
    watched.wait_for(".matrix", LABEL)
    watched.wait_for("#inputs-outputs tr", f"Answers labelled {LABEL}")
    watched.page.locator("#agreement summary").click()
    watched.wait_for("#agreement details tr", OTHER)
    # Every section that there is something for, and every chart.
    for section in ("traffic", "alarms", "drift", "charts", "evidence", "inputs-outputs", "agreement", "events"):
        watched.page.locator(f"#{section}").wait_for()
    watched.wait_for("#alarms li", "errors: error_rate of green is ")
    watched.wait_for("#drift tr:has-text('Latency')", "observations")
    watched.wait_for("#drift tr:has-text('Latency')", "size")
    for title in ("Share of green", "Errors", "Latency, 90th percentile", "Evidence against green"):
        watched.page.get_by_role("img", name=title).wait_for()
    watched.accessible()

    watched.page.evaluate("window.waits = []")
    do("fail")
    while ask(watched.url, "/v1/rollouts/digits")["phase"] != "failed":
        watched.page.wait_for_timeout(20)
    # The page asks a second after each answer: it shows what has happened with the second answer from now at the latest.
    before = watched.page.evaluate(f"{POLLS}()")
    late = watched.page.evaluate(f"{SHOWN}(\"Rolled back\")") - before
    assert late <= 2, f"shown after {late} answers"
    while not (waits := watched.page.evaluate("window.waits")):
        watched.page.wait_for_timeout(20)
    assert max(waits) <= 1_000, waits
    rollout = ask(watched.url, "/v1/rollouts/digits")
    watched.wait_for(".said", "green is rolled back")
    watched.wait_for("#events li", "green is rolled back")
    assert "green is rolled back" in watched.text("#said"), "it is said to those who listen"
    errors = next(evidence for evidence in rollout["evidence"] if evidence["metric"] == "error_rate")
    assert errors["tests"][0]["samples"]["candidate"]["events"] > 0, errors
    # The lower bound is in the API, and in the page's words.
    assert errors["tests"][0]["at_least"] > 1, errors
    watched.wait_for(".metrics tr", "times as often")
    watched.accessible()
    watched.is_quiet()

    for options in (
        {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "light", "viewport": {"width": 360, "height": 740}, "is_mobile": True},
    ):
        other = Watched(chromium, url, **options)
        other.open("#digits")
        other.wait_for(".title .phase", "Rolled back")
        wide = other.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{wide} pixels too wide at {options}"
        other.accessible()
        other.is_quiet()
        other.page.close()

    # What was chosen is shown, and a rollout that there is not is said to be none.
    watched.page.get_by_role("link", name="sides").focus()
    watched.page.keyboard.press("Enter")
    watched.wait_for("h1", "sides")
    assert watched.page.evaluate("location.hash") == "#sides"
    watched.is_quiet()
    watched.page.close()


def buttons(chromium, url):
    """Every button does what it says, by keyboard; what the API refuses is said in words."""
    watched = Watched(chromium, url)
    watched.open("#digits")
    watched.wait_for(".title .phase", "Paused")
    offered = watched.page.locator(".title .actions button:visible")
    expect(offered).to_have_text(["Promote", "Resume", "Abort"])
    # A dialog that is left does nothing.
    watched.page.get_by_role("button", name="Promote", exact=True).click()
    watched.page.get_by_role("dialog").wait_for()
    watched.page.keyboard.press("Escape")
    watched.page.get_by_role("dialog").wait_for(state="detached")
    assert ask(watched.url, "/v1/rollouts/digits")["step"]["index"] == 1, "nothing was done"

    watched.command("Promote", REASON)
    watched.wait_for(".title .phase", "Progressing")
    watched.wait_for("#events li", REASON)
    assert ask(watched.url, "/v1/rollouts/digits/events")["events"][0]["reason"] == REASON
    watched.command("Pause")
    watched.wait_for(".title .phase", "Paused")
    watched.command("Resume")
    watched.wait_for(".title .phase", "Progressing")
    watched.command("Abort", "it is slow")
    watched.wait_for(".title .phase", "Aborted")
    expect(offered).to_have_text(["Retry"])
    watched.command("Retry")
    watched.wait_for(".title .phase", "Paused")
    watched.accessible()

    # From the top of the page to a promotion with the tabulator and the return key alone.
    watched.page.reload()
    watched.wait_for(".title .phase", "Paused")
    watched.tab_to("Promote")
    watched.page.keyboard.press("Enter")
    watched.tab_to("Reason")
    watched.page.keyboard.type("by keyboard")
    watched.tab_to("Promote")
    watched.page.keyboard.press("Enter")
    watched.wait_for(".title .phase", "Progressing")
    watched.wait_for("#events li", "by keyboard")
    focused = watched.page.evaluate("document.activeElement.closest('main') !== null")
    assert focused, "the focus is still in the rollout"

    # A revision that is old: the API refuses, and the dialog says why.
    refused = []
    watched.page.route("**/promote", lambda route: (refused.append(1), route.continue_(
        headers={**route.request.headers, "if-match": '"1"'})))
    dialog = watched.command("Promote")
    dialog.get_by_role("alert").filter(has_text="Digits is now at revision").wait_for()
    watched.accessible()
    watched.page.keyboard.press("Escape")
    assert refused == [1]

    watched.open("#sides")
    watched.wait_for("h1", "sides")
    watched.command("Switch", "the new side")
    watched.wait_for("#traffic .shares", "green 100 %")
    events = ask(watched.url, "/v1/rollouts/sides/events")["events"]
    assert ("flip", "the new side") in [(event["action"], event["reason"]) for event in events], events
    # A browser itself says that a request was refused.
    watched.is_quiet("412")
    watched.page.close()


def token(chromium, url):
    """A token is asked for once, and kept nowhere; one that may only look is told so."""
    watched = Watched(chromium, url)
    watched.open()
    dialog = watched.page.get_by_role("dialog")
    dialog.get_by_text("asks for a token").wait_for()
    assert watched.page.locator("dialog").count() == 1
    watched.accessible()
    for wrong, right in (("nothing", False), ("looks", True)):
        dialog.get_by_label("Token").fill(wrong)
        watched.page.keyboard.press("Enter")
        if not right:
            dialog.get_by_role("alert").filter(has_text="does not accept the token").wait_for()
    watched.wait_for(".title .phase", "Paused")
    before = watched.page.evaluate(f"{POLLS}()")
    while watched.page.evaluate(f"{POLLS}()") < before + 2:
        watched.page.wait_for_timeout(50)
    assert watched.page.locator("dialog").count() == 0, "it was asked for again"
    # The token is in no place that outlives the page, and in no address.
    kept = watched.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.href].join()")
    assert kept == f"0,0,,{watched.url}/", kept
    assert not any("looks" in request.url for request in watched.asked)
    dialog = watched.command("Abort")
    dialog.get_by_role("alert").filter(has_text="is read-only").wait_for()
    watched.is_quiet("401", "403")

    # Loaded again it has forgotten; without a token there is nothing to see.
    watched.page.reload()
    dialog = watched.page.get_by_role("dialog")
    dialog.get_by_label("Token").wait_for()
    watched.page.keyboard.press("Escape")
    watched.wait_for(".connection", "needs a token")
    assert watched.page.locator("h1").count() == 0
    watched.page.get_by_role("button", name="Enter a token").click()
    dialog.get_by_label("Token").fill("writes")
    watched.page.keyboard.press("Enter")
    watched.wait_for(".title .phase", "Paused")
    watched.command("Abort", "no reason")
    watched.wait_for("#events li", "by person")
    watched.is_quiet("401", "403")
    watched.page.close()


def restart(chromium, url):
    """Envoy goes and comes back while the page is open: it says so, and goes on by itself."""
    watched = Watched(chromium, url)
    watched.open("#digits")
    watched.wait_for(".title .phase", "Paused")
    newest = watched.page.locator("#events time").first
    before = newest.get_attribute("datetime")
    do("stop Envoy")
    watched.wait_for(".connection", "Envoy cannot be reached")
    watched.wait_for(".title .phase", "Paused")
    do("start Envoy")
    watched.wait_for(".connection", "Live")
    expect(newest).not_to_have_attribute("datetime", before)
    watched.command("Promote")
    watched.wait_for(".title .phase", "Progressing")
    # The browser's own messages, while Envoy is away or not ready.
    watched.is_quiet("Failed to load resource")
    watched.page.close()


def answers(chromium, url):
    """More rollouts than are shown at once, and answers that the API has not given."""
    watched = Watched(chromium, url)
    rollout = ask(watched.url, "/v1/rollouts")["rollouts"][0]
    names = [f"r{number:04}" for number in range(1_205)]

    def page(route):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(route.request.url).query)
        rest = [name for name in names if name > query.get("after", [""])[0]]
        some, more = rest[:100], len(rest) > 100
        route.fulfill(json={"rollouts": [{**rollout, "name": name} for name in some], "next": some[-1] if more else None})

    watched.page.route(re.compile(r"/v1/rollouts(\?.*)?$"), page)
    watched.open("#digits")
    rows = watched.page.locator("#rollouts li")
    expect(rows).to_have_count(1_000)
    watched.wait_for("#listed", "1,000 rollouts, from r0000 to r0999; there are more")
    watched.page.get_by_role("button", name="Next rollouts").click()
    watched.wait_for("#listed", "205 rollouts, from r1000 to r1204")
    expect(watched.page.get_by_role("button", name="Next rollouts")).to_be_disabled()
    watched.page.locator("#filter").fill("r0001")
    watched.wait_for("#no-rollouts", "No rollout of these has that name.")
    watched.page.locator("#filter").fill("")
    watched.accessible()
    watched.page.get_by_role("button", name="First rollouts").click()
    watched.wait_for("#listed", "from r0000 to r0999")

    # A signal that the page has no word for.
    evidence = [{"metric": metric, "log10_e": 0, "threshold": 2, "tests": []} for metric in ("output.new_kind", "all")]
    watched.page.route("**/v1/rollouts/digits", lambda route: route.fulfill(json={**rollout, "evidence": evidence}))
    watched.wait_for("#inputs-outputs tr", "Output new kind")
    watched.page.unroute("**/v1/rollouts/digits")

    # A lower bound is rounded down.
    counts = {"candidate": {"events": 60, "units": 100}, "stable": {"events": 1, "units": 100}}
    test = {"samples": counts, "quantile": None, "slower_than_ms": None, "max": None, "against": "stable", "worse_if": "more"}
    for at_least, said in ((1.15, "1.15"), (12.37, "12.3"), (123.6, "123"), (1234.9, "1,234")):
        tested = {"metric": "error_rate", "log10_e": 1, "threshold": 2, "tests": [{**test, "at_least": at_least}]}
        watched.page.route("**/v1/rollouts/digits", lambda route, _request, tested=tested: route.fulfill(
            json={**rollout, "evidence": [tested, evidence[1]]}))
        watched.wait_for(".metrics tr", f": at least {said} times as often")
        watched.page.unroute("**/v1/rollouts/digits")

    for body, said in (
        ("", "The filter is not running; Envoy's log says why."),
        (json.dumps({"detail": "the store is away"}), "The store is away."),
        ("upstream connect error", "The answer has status 503: upstream connect error."),
        ("<html>gateway</html>", "The answer has status 503."),
    ):
        watched.page.route("**/v1/rollouts/digits", lambda route, _request, body=body: route.fulfill(status=503, body=body))
        watched.wait_for(".connection", said)
        watched.page.unroute("**/v1/rollouts/digits")
    watched.wait_for(".connection", "Live")
    watched.is_quiet("503")
    watched.page.close()


def people(chromium, url):
    """How far a model has taken over: the degree, agreement, thresholds, and labels as text."""
    watched = Watched(chromium, url)
    watched.open("#digits")
    watched.wait_for("#automation [aria-current=step]", "shadow")
    watched.wait_for("#automation", "People decide every task.")
    watched.wait_for("#automation table", "Without seeing the model's answer")
    watched.wait_for("#automation table.matrix", LABEL)
    watched.wait_for("#automation", "decisions short")
    curve = watched.page.get_by_role("img", name="Disagreement by coverage: ")
    assert "0 % at 50.0 %, 0 % at 100 %" in curve.get_attribute("aria-label").replace("\u00a0", " ")
    assert curve.locator(".trace").count() == 2 and "L" in curve.locator(".trace").last.get_attribute("d")
    watched.wait_for("#traffic .waits", "Decisions 40 of 500")
    # Degrees are not skipped.
    watched.page.get_by_role("button", name="Promote", exact=True).click()
    dialog = watched.page.get_by_role("dialog")
    dialog.get_by_label("Reason").wait_for()
    expect(dialog.get_by_role("checkbox")).to_have_count(0)
    watched.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    watched.accessible()
    do("set the degree")
    watched.wait_for("#automation [aria-current=step]", "full")
    watched.wait_for("#automation", "green answers every task.")
    watched.is_quiet()
    watched.page.close()


def main():
    scene, url = sys.argv[1:]
    with browser.chromium() as chromium:
        {
            "answers": answers, "buttons": buttons, "follow": follow, "people": people, "restart": restart, "token": token,
        }[scene](chromium, url)
    print("well", flush=True)


if __name__ == "__main__":
    main()
