// What happened, newest first.

/** Events that are shown at once. */
const MOST_EVENTS = 12;
let allEvents = false;

section({
  id: "events",
  title: "Events",
  wants: () => true,
  draw(body, { events, rollout }) {
    const { release, attempt } = rollout;
    show(body, { events, allEvents, release, attempt }, () => {
      if (events.length === 0) return el("p", { class: "faint" }, "Nothing has happened yet.");
      const some = allEvents ? events : events.slice(0, MOST_EVENTS);
      return [
        el("ol", { class: "events" }, some.map((event) => happened(event, rollout))),
        events.length > some.length && el("p", {}, el("button", { type: "button", onclick: () => { allEvents = true; draw(); } },
          `Show all ${events.length} events`)),
      ];
    });
  },
});

const WHO = { auto: "", user: "by command", config: "by a push of the configuration" };

function happened(event, rollout) {
  const who = event.token ? `by ${event.token}` : Object.hasOwn(WHO, event.actor) ? WHO[event.actor] : String(event.actor);
  const why = [who, event.reason && `“${event.reason}”`].filter(Boolean).join(": ");
  return el("li", {},
    el("time", { class: "faint", datetime: event.time }, clock(event.time)),
    el("span", { class: `action ${tone(event.action)}` }, actionName(event.action)),
    el("div", {}, el("p", {}, sentence(event.message, rollout)), why && el("p", { class: "why" }, why),
      (event.release !== rollout.release || event.attempt !== rollout.attempt)
        && el("p", { class: "why" }, `Release ${event.release}, attempt ${event.attempt}`)));
}
