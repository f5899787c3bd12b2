"""What the demo shows: a canary's split, users that stay where they are, flips, releases that move by themselves."""

import collections
import json
import os
import re
import time

import client
import counters
import processes
import show

ECDS = "envoy/ecds/changeover.yaml"
# A release in three steps; each lasts a second. Users are judged, for each keeps a version; a request that a model
# does not take counts as failed as well.
WALK = (
    "session_affinity: {header: x-user-id}\n            "
    "steps: [{set_weight: 5}, {pause: {duration: 1s}}, {set_weight: 25}, {pause: {duration: 1s}}, "
    "{set_weight: 50}, {pause: {duration: 1s}}]\n"
    "            analysis: {error_when: {status: [5xx, 400]}, metrics: [{name: error_rate}]}"
)
# The same, with answers that are read.
WALK_WITH_PAYLOAD = WALK.replace("{name: error_rate}", "{name: error_rate}, {name: output.null}") + (
    "\n            payload: {protocol: open_inference}"
)
# A release that gets no traffic before its answers agree often enough.
PROVE = (
    "mirror: {to: svm, percent: 0, methods: [POST], mode: compare, compare: {label: /outputs/0/data/0}}\n            "
    "steps: [{set_mirror: {percent: 100}}, {pause: {min_compared: 300, min_agreement: 0.9}}, {set_weight: 50}, "
    "{pause: {duration: 1s}}]\n            "
    "analysis: {metrics: [{name: error_rate}, {name: mirror.disagreement, max: 0.1}]}"
)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def configuration(fields, release=None, candidate="svm"):
    """The shipped ECDS file with other fields in place of its `blue_green`, and another release if one is named."""
    text, count = re.subn(r"blue_green: \{active: \w+\}", fields, (processes.ROOT / ECDS).read_text())
    assert count == 1, "the shipped ECDS file has one `blue_green: {active: …}`"
    if release:
        text, count = re.subn(r'release: "[^"]+"', f'release: "{release}"', text)
        assert count == 1, "the shipped ECDS file has one release"
    if candidate != "svm":
        text = text.replace("stable: logreg", "stable: svm").replace("candidate: svm", f"candidate: {candidate}")
    return text


class Demo:
    """Runs the acts, and keeps what they observed for the summary."""

    def __init__(self, running, images, promises):
        self.running, self.images, self.promises = running, images, promises
        # (act, {version: what clients saw}, … model servers received, … filter counted)
        self.observed = []
        self.known = ({}, {})

    def note(self, act, answers, may_fail=False):
        """Compares what an act's clients saw with what model servers and filter counted meanwhile."""
        seen = client.by_version(answers)

        def since_the_last_act():
            models, filters = self.running.model_counts(), self.running.filter_counts()
            return counters.subtract(models, self.known[0]), counters.subtract(filters, self.known[1])

        def same():
            models, filters = since_the_last_act()
            return all(seen.get(v, 0) == models.get(v, 0) == filters.get(v, 0) for v in {*seen, *models, *filters})

        # The filter counts a request when it is over for Envoy, a moment after the client has the answer.
        agreed = processes.holds_within(2, same)
        models, filters = since_the_last_act()
        self.known = (counters.add(self.known[0], models), counters.add(self.known[1], filters))
        self.observed.append((act, seen, models, filters))
        self.promises.keep(
            agreed, "clients, model servers and the filter counted the same", f"{seen}, {models}, {filters}",
        )
        if may_fail:
            return seen
        failed = collections.Counter(answer.status for answer in answers if answer.status != 200)
        self.promises.keep(not failed, f"each of {len(answers):,} requests was answered with 200", dict(failed))
        return seen

    def canary(self, requests):
        show.heading("Canary: 20 % of the requests go to the candidate")
        show.say("envoy/envoy.yaml says `weights: {svm: 20}`; these requests have no user, each is drawn on its own")
        questions = [(number, None) for number in range(requests)]
        answers = client.ask_all(self.images, questions, "requests")
        rows = []
        for version, weight in (("logreg", 80), ("svm", 20)):
            mine = [(n, answer) for n, answer in enumerate(answers) if answer.version == version]
            right = sum(answer.label == self.images.labels[n % len(self.images)] for n, answer in mine)
            times = [answer.seconds * 1_000 for _, answer in mine]
            rows.append((
                version, f"{weight} %", f"{100 * len(mine) / len(answers):.1f} %", len(mine),
                f"{100 * right / max(1, len(mine)):.1f} %", f"{percentile(times, 0.5):.1f} ms",
                f"{percentile(times, 0.99):.1f} ms",
            ))
        header = ("version", "weight", "observed", "requests", "right answers", "median", "99th percentile")
        for line in show.table(header, rows):
            show.say(line)
        seen = self.note("canary", answers)
        candidate = seen.get("svm", 0)
        self.promises.keep(
            counters.within(candidate, requests, 0.20),
            f"{candidate:,} of {requests:,} requests is 20 %, within four standard deviations",
        )

    def users(self, count=200, times=5):
        show.heading("Sticky users: who has seen a version keeps it")
        questions = [(at, {"x-user-id": f"user-{at % count}"}) for at in range(count * times)]
        first = client.ask_all(self.images, questions, "requests")
        versions = collections.defaultdict(set)
        for (at, _), answer in zip(questions, first):
            versions[at % count].add(answer.version)
        self.promises.keep(
            all(len(seen) == 1 for seen in versions.values()),
            f"{count} users, {times} requests each, over two workers: everybody saw one version",
        )
        on_candidate = sum(seen == {"svm"} for seen in versions.values())
        show.say(f"{on_candidate} of {count} users are on the candidate")

        self.running.stop_envoy()
        self.running.start_envoy("envoy/envoy.yaml")
        again = client.ask_all(self.images, questions[:count], "requests")
        self.promises.keep(
            all({answer.version} == versions[at] for at, answer in enumerate(again)),
            "after a restart of Envoy everybody sees the same version as before",
        )

        asked = client.Client(self.images)
        stable_user = next(f"user-{at}" for at, seen in versions.items() if seen == {"logreg"})
        overrides = [asked.ask(0, {"x-user-id": stable_user, "x-changeover": value})
                     for value in ("always", "never", "svm", "digits-svm")]
        self.promises.keep(
            [answer.version for answer in overrides] == ["svm", "logreg", "svm", "logreg"],
            "`x-changeover: always`, `never` and a version's name are obeyed; a cluster's name is not",
        )
        forged = [asked.ask(0, {"x-user-id": stable_user, "x-changeover-cluster": "digits-svm"}) for _ in range(5)]
        self.promises.keep(
            all(answer.version == "logreg" for answer in forged),
            "a client that sends x-changeover-cluster itself reaches no other cluster",
        )
        self.note("sticky users", first + again + overrides + forged)

    def push(self, fields, release=None, candidate="svm"):
        """Moves a configuration with these fields into place: Envoy does not notice a write."""
        path = self.running.directory / ECDS
        new = path.with_suffix(".new")
        new.write_text(configuration(fields, release, candidate))
        os.replace(new, path)

    def events(self, release):
        """What has happened to a release, as Envoy's log has it, one line of JSON for each event."""
        lines = re.findall(r"changeover: (\{.*\})$", self.running.log(), re.M)
        return [event for event in map(json.loads, lines) if event["release"] == release]

    def walk(self, release, candidate, last, fields=WALK):
        """Starts a release and shows its events until the last one, which it returns."""
        self.push(fields, release, candidate)
        return self.follow(release, last)

    def follow(self, release, last):
        """Shows a release's events until the last one, which it returns."""
        events = self.show_events(release, f"the release to {last}", lambda event: event["action"] in ("succeed", "rollback"))
        self.promises.keep(events[-1]["action"] == last, f"the release ended with: {last}", events[-1]["action"])
        return events[-1]

    def show_events(self, release, what, is_last, told=0, deadline=processes.DEADLINE):
        """Shows a release's events, but for the first ones that were told, until one is the last. Returns all of them up to it."""

        def ended():
            nonlocal told
            events = self.events(release)
            for event in events[told:]:
                show.say(f"  {event['message']}")
            told = max(told, len(events))
            at = next((at for at, event in enumerate(events) if is_last(event)), None)
            return at is not None and events[: at + 1]

        return processes.wait_for(what, ended, deadline)

    def releases(self):
        show.heading("A release that moves by itself: forward when all is well, back when it is not")
        crowd = client.Crowd()
        show.say(f"{len(crowd.names)} users, each of whom keeps a version, some of them a hundred times as busy as others")
        show.say(f"{len(crowd.BROKEN)} of them send images that no model takes: every request of theirs fails, anywhere")
        show.say("pushed a release with `steps` from 5 % to 50 % and `analysis` of the error rate:")
        with client.Load(self.images, crowd=crowd) as load:
            load.wait_for_more(50)
            self.walk("good", "svm", "succeed")
            load.wait_for_more(200)
            everything = all(answer.version == "svm" for answer in load.newest(50))
            self.promises.keep(everything, "the candidate has all the traffic")
        failed = sum(load.failed.values())
        show.say(f"{failed:,} of {len(load.all()):,} requests failed; to the judge that is {len(crowd.BROKEN)} users, once each")
        others = [user for user, count in load.failed.items() if count and user not in crowd.BROKEN]
        self.promises.keep(failed > 0 and not others, "no other request failed, and no version was rolled back for it", others)
        self.note("good release", load.all(), may_fail=True)

        show.say("the next release: svm is stable now, and logreg, the candidate, fails from the first step on:")
        self.running.misbehave("logreg", fail_percent=100)
        with client.Load(self.images, crowd=crowd) as load:
            load.wait_for_more(50)
            self.walk("bad", "logreg", "rollback")
            load.wait_for_requests_in_flight()
            load.wait_for_more(200)
            well = all(answer.status in (200, 400) for answer in load.newest(100))
        self.running.misbehave("logreg", fail_percent=0)
        answers = load.all()
        failed = sum(answer.status not in (200, 400) for answer in answers)
        show.say(f"{failed} failed answers of logreg reached clients, of {len(answers):,} in all")
        self.promises.keep(well, "after that no request failed but those of the three")
        # At some 1,200 requests a second a tick has 60 of the candidate's: those of one are enough to know.
        self.promises.keep(0 < failed <= 200, "the candidate was taken back within three seconds' requests", failed)
        self.note("bad release", answers, may_fail=True)
        self.nulls(crowd)

    def nulls(self, crowd):
        show.say("the third release: logreg answers with status 200 again, but what it answers is null")
        show.say("pushed with `payload: {protocol: open_inference}`, and `output.null` among the metrics:")
        self.running.misbehave("logreg", null_percent=100)
        with client.Load(self.images, crowd=crowd) as load:
            load.wait_for_more(50)
            event = self.walk("nulls", "logreg", "rollback", WALK_WITH_PAYLOAD)
            load.wait_for_requests_in_flight()
            load.wait_for_more(200)
            well = all(answer.label is not None for answer in load.newest(100) if answer.status == 200)
        self.running.misbehave("logreg", null_percent=0)
        answers = load.all()
        nulls = sum(answer.status == 200 and answer.label is None for answer in answers)
        failed = sum(answer.status not in (200, 400) for answer in answers)
        show.say(f"{nulls} null answers of logreg reached clients, of {len(answers):,} in all; {failed} requests failed")
        self.promises.keep("(output.null)" in event["message"] and failed == 0, "it was taken back for its answers alone")
        self.promises.keep(well, "after that no answer was null")
        self.promises.keep(0 < nulls <= 400, "the candidate was taken back within four seconds' requests", nulls)
        self.note("null release", answers, may_fail=True)
        counted = counters.nulls(self.running.series())
        self.promises.keep(counted == nulls, "the filter counted the null answers that clients got", counted)

    def hash_in_use(self):
        """The one configuration that all workers use, if there is one."""
        used = set(counters.hashes(self.running.series()).values())
        return used.pop() if len(used) == 1 else None

    def shadow(self, requests=300):
        show.heading("Shadow: stable answers, the other version gets a copy of every second request")
        used = self.hash_in_use()
        mirror = "mirror: {to: svm, percent: 50, methods: [POST]}"
        self.push(mirror)
        processes.wait_for("the mirror", lambda: self.new_hash_in_use(used))
        show.say(f"pushed `{mirror}`")
        before = self.running.model_counts()
        answers = client.ask_all(self.images, [(number, None) for number in range(requests)], "requests")
        sent = counters.mirrored(self.running.series())

        def received():
            return counters.subtract(self.running.model_counts(), before)

        # No client waits for a shadow: its last copies may still be on their way.
        arrived = processes.holds_within(5, lambda: received()["svm"] == sent)
        show.say(f"the shadow got {received()['svm']} copies, the filter asked for {sent}")
        self.promises.keep(arrived, "the shadow got exactly the copies that the filter asked for", received())
        self.promises.keep(
            counters.within(sent, requests, 0.5), "half of the requests were copied, within four standard deviations", sent,
        )
        self.promises.keep(
            all(answer.version == "logreg" for answer in answers), "every client got stable's answer",
        )
        # Copies are no requests of clients: they are left out of the comparison.
        self.known = (counters.add(self.known[0], {"svm": received()["svm"]}), self.known[1])
        self.note("shadow", answers)

    def proven(self):
        show.heading("Shadow first: the filter compares the answers, and a model gets no traffic until they agree")
        self.prove("proven", "succeed", "svm is the shadow; it takes requests once it agrees with logreg in 90 %, proven:")
        show.say("the same with another svm, which answers at random:")
        self.running.misbehave("svm", random_percent=100)
        answers = self.prove("random", "rollback", "pushed the next release:")
        self.running.misbehave("svm", random_percent=0)
        self.promises.keep(
            all(answer.version == "logreg" for answer in answers), "no client has seen an answer of it",
        )

    def prove(self, release, last, what):
        used, sent_before = self.hash_in_use(), counters.mirrored(self.running.series())
        self.push(PROVE, release)
        processes.wait_for("the release", lambda: self.new_hash_in_use(used))
        show.say(what)
        with client.Load(self.images) as load:
            event = self.follow(release, last)
            load.wait_for_requests_in_flight()
            load.wait_for_more(200)
            newest = load.newest(50)
        answers = load.all()
        served = {"succeed": "svm", "rollback": "logreg"}[last]
        self.promises.keep(all(answer.version == served for answer in newest), f"{served} has all the traffic")
        if last == "rollback":
            rule = event["rule"]
            self.promises.keep(rule == "mirror.disagreement.max", "it was stopped for its answers alone", rule)

        def copies():
            return counters.mirrored(self.running.series()) - sent_before

        def arrived():
            received = counters.subtract(self.running.model_counts(), self.known[0]).get("svm", 0)
            return received - client.by_version(answers).get("svm", 0)

        same = processes.holds_within(5, lambda: arrived() == copies())
        self.promises.keep(same, f"svm got {copies()} copies, as many as the filter sent", arrived())
        # Copies are no requests of clients: they are left out of the comparison.
        self.known = (counters.add(self.known[0], {"svm": copies()}), self.known[1])
        self.note(release, answers)
        return answers

    def people(self):
        show.heading("People and a model: people decide, until it is proven what the model may answer alone")
        self.running.stop_envoy()
        self.running.start_people()
        self.running.start_envoy("envoy/automation.yaml")
        release = "2026-11-28.1"
        asked = self.running.model_counts()["svm"]
        show.say("examples/automation/envoy.yaml begins at degree `human`: people have the tasks, and svm is not asked")
        first = client.ask_all(self.images, [(number, None) for number in range(100)], "tasks")
        decided, asked = self.running.tasks_of_people(), self.running.model_counts()["svm"] - asked
        self.promises.keep(
            all(answer.version == "people" for answer in first) and decided["tasks"] == 100 and asked == 0,
            "people have answered 100 of 100 tasks, and svm was asked about none", f"{decided}, svm {asked}",
        )
        show.say("changeover promote digits: from here on the filter goes by what people decide:")
        self.running.promote("digits")
        events = self.climb(release, "shadow")
        second = client.ask_all(self.images, [(number, None) for number in range(100, 300)], "tasks")
        decided = self.running.tasks_of_people()
        self.promises.keep(
            all(answer.version == "people" for answer in second) and decided == {"tasks": 300, "suggested": 0},
            "people have answered 200 of 200 tasks, and have seen no suggestion", decided,
        )
        self.tell_proof()
        with client.Load(self.images) as load:
            events = self.climb(release, "partial", len(events))
            decided = self.running.tasks_of_people()
            show.say(f"reviewers have seen what svm suggests in {decided['suggested']:,} of {decided['tasks']:,} tasks")
            self.promises.keep(decided["suggested"] > 0, "reviewers were assisted", decided)
            load.wait_for_more(400)
            proof = self.tell_proof()
            self.promises.keep(
                re.match(r"threshold [0-9.]+: [0-9.]+ % answered alone, .*, proven to be at most ", proof),
                "`changeover status` says what svm answers alone, and what is proven of it", proof,
            )
            alone = [
                (load.image(at, n), answer) for at, answers in enumerate(load.answers) for n, answer in enumerate(answers)
                if answer.version == "svm"
            ]
            right = sum(answer.label == self.images.labels[n % len(self.images)] for n, answer in alone)
            show.say(f"svm has answered {len(alone):,} tasks alone, {100 * right / max(1, len(alone)):.1f} % of them rightly")
            self.promises.keep(alone, "the model has taken over the tasks that it is sure about")
            show.say("now svm answers at random, as sure of itself as before:")
            self.running.misbehave("svm", random_percent=100)
            self.show_events(
                release, "the audit to find it", lambda event: "is rolled back" in event["message"], len(events),
            )
            load.wait_for_requests_in_flight()
            load.wait_for_more(200)
            newest = load.newest(100)
        self.running.misbehave("svm", random_percent=0)
        self.promises.keep(all(answer.version == "people" for answer in newest), "people decide everything again")
        answers = first + second + load.all()
        failed = collections.Counter(answer.status for answer in answers if answer.status != 200)
        self.promises.keep(not failed, f"each of {len(answers):,} tasks was answered with 200", dict(failed))
        self.count_tasks(answers)

    def climb(self, release, degree, told=0):
        """Shows a release's events until it waits at this degree. Returns all of them up to there."""

        def is_there(event):
            return re.match(rf"step \d+ of \d+: degree {degree}\b", event["message"])

        # Some 2,000 tasks: seconds, on a machine that has nothing else to do.
        return self.show_events(release, f"degree {degree}", is_there, told, deadline=180)

    def tell_proof(self):
        """Shows how far svm has got, as `changeover status` says it; returns what is proven."""
        status = self.running.status("digits")
        show.say("changeover status digits:")
        for name in ("degree", "blind", "shown", "proof"):
            if name in status:
                show.say(f"  {name:<9}  {status[name]}")
        return status.get("proof", "")

    def count_tasks(self, answers):
        """Compares who answered with what the filter and the reviewers have counted."""
        seen = client.by_version(answers)

        def counted():
            tasks = counters.tasks(self.running.series())
            model = tasks.get("model", 0) + tasks.get("audit", 0)
            to_people = tasks.get("human", 0) + tasks.get("audit", 0)
            return {"people": tasks.get("human", 0), "svm": model}, to_people

        def same():
            by_version, to_people = counted()
            return by_version == seen and to_people == self.running.tasks_of_people()["tasks"]

        self.promises.keep(
            processes.holds_within(5, same), "clients, reviewers and the filter counted the same, with what was audited",
            f"{seen}, {self.running.tasks_of_people()}, {counted()}",
        )

    def new_hash_in_use(self, old):
        used = self.hash_in_use()
        return used if used != old else None

    def blue_green(self, flips=10):
        show.heading(f"Blue/green: {flips} flips under load, by replacing {ECDS}")
        self.running.stop_envoy()
        self.running.start_envoy("envoy/envoy-ecds.yaml")
        used = processes.wait_for("the configuration", self.hash_in_use)
        took, late = [], 0
        with client.Load(self.images) as load:
            load.wait_for_more(50)
            for number in range(flips):
                new, old = ("svm", "logreg") if number % 2 == 0 else ("logreg", "svm")
                began = time.monotonic()
                self.push(f"blue_green: {{active: {new}}}")
                used = processes.wait_for("all workers to flip", lambda: self.new_hash_in_use(used))
                took.append((time.monotonic() - began) * 1_000)
                load.wait_for_requests_in_flight()
                before = self.running.model_counts()[old]
                load.wait_for_more(60)
                late += self.running.model_counts()[old] - before
            show.say(f"from the file's replacement to the last worker: median {percentile(took, 0.5):.0f} ms, "
                     f"at most {max(took):.0f} ms")
            self.promises.keep(late == 0, "once all workers had flipped, no request went to the old side", late)

            rejected = "extension_config_discovery.http_filter.changeover.update_rejected"
            self.push("weights: {svm: 120, tree: 5}")
            processes.wait_for("the refusal", lambda: self.running.stat(rejected))
            reasons = re.findall(r"configuration refused: (.*)", self.running.log())
            show.say("a push that is wrong, and what Envoy's log says about it:")
            for reason in reasons:
                show.say(f"  {reason}")
            load.wait_for_more(60)
            self.promises.keep(
                len(reasons) == 2 and self.hash_in_use() == used, "it was refused, and the old configuration stays in use",
            )
        self.note("blue/green", load.all())

    def summary(self):
        show.heading("Summary: who counted what")
        rows = []
        for act, *counts in self.observed:
            for version in sorted({*counts[0], *counts[1], *counts[2]}):
                numbers = [count.get(version, 0) for count in counts]
                if not any(numbers):
                    continue
                rows.append((act, version, *(f"{number:,}" for number in numbers), "✓" if len(set(numbers)) == 1 else "✗"))
        for line in show.table(("act", "version", "clients", "model servers", "filter", ""), rows):
            show.say(line)
