// The page as a whole: which rollout is shown, its buttons, and asking the API once a second.

const PERIOD = 1000;
/** Above so many rollouts the list is asked for less often. */
const FEW = 20;
/** Pages of the API's list that are shown at once. */
const MOST_PAGES = 10;

/** `from`: the name behind which the list begins, `more`: that with which it can go on. */
const state = { name: null, rollouts: [], from: null, more: null, rollout: null, events: [], differences: null, history: new History() };
/** Of what is shown. */
let frame = null;

/** What can be asked of a rollout: `fits` says when. `guarded`: refused if something has happened since it was shown. */
const COMMANDS = [
  {
    verb: "promote", label: "Promote", main: true, guarded: true,
    // After a flip a candidate that is watched has all the traffic already.
    fits: ({ phase, candidate, steps, active, weights }) => candidate !== null && (phase === "progressing" || phase === "paused")
      && (active !== null ? weights[candidate] !== 100 || phase === "paused" : steps.length > 0),
    says: ({ candidate, active }) => active !== null
      ? `All traffic goes to ${candidate} at once, without the rest of the bake.`
      : "The present step ends now, and the next one begins.",
    fields: ({ candidate, active, automation }) => {
      if (active !== null || automation) return { inputs: [], read: () => ({}) };
      const full = el("input", { type: "checkbox" });
      return {
        inputs: [el("label", { class: "line" }, full, el("span", {}, `Skip all remaining steps: ${candidate} gets all traffic`))],
        read: () => (full.checked ? { full: true } : {}),
      };
    },
  },
  {
    verb: "pause", label: "Pause",
    fits: ({ phase }) => phase === "progressing",
    says: () => "The steps stop here. The rollback stays armed.",
  },
  {
    verb: "resume", label: "Resume", main: true, guarded: true,
    fits: ({ phase }) => phase === "paused",
    says: () => "The release goes on from here.",
  },
  {
    verb: "retry", label: "Retry", main: true, guarded: true,
    fits: ({ phase, candidate }) => candidate !== null && (phase === "aborted" || phase === "failed"),
    says: ({ candidate }) => `Another attempt begins with ${candidate}, from the first step and without evidence.`,
  },
  {
    verb: "switch", label: "Switch", guarded: true,
    fits: ({ active, phase }) => active !== null && phase !== "aborted" && phase !== "failed",
    says: () => "All traffic goes to the side that you choose, and stays there.",
    fields: ({ stable, candidate, active }) => {
      const choice = el("select", {}, [stable, candidate].filter(Boolean).map((side) =>
        el("option", { value: side, selected: side !== active }, side === active ? `${side} (has the traffic now)` : side)));
      return { inputs: [el("label", {}, "Side", choice)], read: () => ({ active: choice.value }) };
    },
  },
  {
    verb: "abort", label: "Abort", danger: true,
    fits: ({ phase, candidate }) => candidate !== null && phase !== "aborted" && phase !== "failed",
    says: ({ stable, candidate }) => `${candidate} is rolled back: its traffic goes to ${stable}, and its mirror stops.`,
  },
];

/** Asks what a person means, and does it. */
function ask(wanted) {
  const { rollout } = state;
  const { inputs, read } = wanted.fields?.(rollout) ?? { inputs: [], read: () => ({}) };
  const reason = el("input", { type: "text", maxlength: "256", autocomplete: "off" });
  openDialog({
    title: `${wanted.label} ${rollout.name}`,
    body: [el("p", {}, wanted.says(rollout)), inputs, el("label", {}, "Reason (optional; its event shows it)", reason)],
    confirm: wanted.label,
    danger: wanted.danger,
    run: async () => {
      const fields = read();
      if (reason.value.trim()) fields.reason = reason.value.trim();
      const changed = await command(rollout.name, wanted.verb, fields, wanted.guarded ? rollout.revision : null);
      const missing = changed.missing_workers ?? [];
      const late = missing.length ? ` ${missing.length === 1 ? "Worker" : "Workers"} ${missing.join(", ")} will follow at the next tick.` : "";
      say(`${wanted.label}: done.${late}`);
      if (changed.name === state.name) take(changed);
    },
    closed: () => { if (!document.activeElement || document.activeElement === document.body) byId("rollout").focus(); },
  });
}

/** The parts of a rollout's view that stay as long as it is shown. */
function build() {
  const title = el("h1", {});
  const facts = el("p", { class: "faint" });
  const said = el("p", { class: "said" });
  const buttons = COMMANDS.map((wanted) =>
    [wanted, el("button", { type: "button", class: wanted.main ? "main" : wanted.danger ? "danger" : null, onclick: () => ask(wanted) }, wanted.label)]);
  const sections = SECTIONS.map((declared) => {
    const body = el("div", { class: "body" });
    const heading = `section-${declared.id}`;
    return { declared, body, node: el("section", { "aria-labelledby": heading, id: declared.id }, el("h2", { id: heading }, declared.title), body) };
  });
  const head = el("div", { class: "title" }, el("div", {}, title, facts),
    el("div", { class: "actions", role: "group", "aria-label": "Commands" }, buttons.map(([, button]) => button)));
  const back = el("a", { class: "back", href: "#" }, "← All rollouts");
  byId("rollout").replaceChildren(back, head, said, ...sections.map(({ node }) => node));
  return { name: state.name, title, facts, said, buttons, sections };
}

/** Shows the rollout as it was last told. */
function draw() {
  const { rollout } = state;
  if (rollout === null) return;
  if (frame?.name !== state.name) frame = build();
  const [word, tone] = phaseOf(rollout);
  document.title = `${rollout.name}: ${word.toLowerCase()} – Changeover`;
  show(frame.title, { name: rollout.name, word, tone }, () => [rollout.name, el("span", { class: `phase ${tone}` }, word)]);
  setText(frame.facts, [`Release ${rollout.release}`, `attempt ${rollout.attempt}`, rollout.step.count > 0
    && `step ${Math.min(rollout.step.index + 1, rollout.step.count)} of ${rollout.step.count}`].filter(Boolean).join(" · "));
  // The event says what was done as well; a reason alone, why.
  const [newest] = state.events;
  const isTold = isOver(rollout.phase) && newest && (newest.action === "rollback" || newest.action === "abort");
  const why = (isTold && newest.message) || rollout.reason || newest?.message || "";
  frame.said.className = `said ${tone}`;
  frame.said.hidden = why === "";
  setText(frame.said, why ? sentence(why, rollout) : "");
  for (const [wanted, button] of frame.buttons) {
    const hide = !wanted.fits(rollout);
    // Who was on it goes on from the top of the rollout.
    if (hide && document.activeElement === button) byId("rollout").focus();
    button.hidden = hide;
  }
  for (const { declared, body, node } of frame.sections) {
    node.hidden = !declared.wants(state);
    if (!node.hidden) declared.draw(body, state);
  }
}

function drawList() {
  const filter = byId("filter");
  filter.hidden = state.rollouts.length <= 8 && filter.value === "";
  const wanted = filter.value.trim().toLowerCase();
  const some = state.rollouts.filter(({ name }) => name.toLowerCase().includes(wanted));
  const data = some.map(({ name, phase, pinned, weights, stable, candidate }) => ({ name, phase, pinned, weights, stable, candidate }));
  show(byId("rollouts"), { data, name: state.name }, () => some.map((rollout) => {
    const [word, tone] = phaseOf(rollout);
    return el("li", {}, el("a", { href: `#${encodeURIComponent(rollout.name)}`, "aria-current": rollout.name === state.name ? "page" : null },
      el("span", { class: "row" }, el("span", { class: "name" }, rollout.name), el("span", { class: `phase ${tone}` }, word)),
      split(rollout, rollout.weights, true),
      el("span", { class: "row" }, inWords(rollout, rollout.weights))));
  }));
  const isPart = state.from !== null || state.more !== null;
  const none = byId("no-rollouts");
  none.hidden = some.length > 0;
  setText(none, wanted ? `No rollout ${isPart ? "of these " : ""}has that name.` : isPart ? "No more rollouts." : "No rollouts yet.");
  byId("pages").hidden = !isPart;
  setText(byId("listed"), isPart && state.rollouts.length > 0
    ? `These are ${number(state.rollouts.length)} rollouts, from ${state.rollouts[0].name} to ${state.rollouts.at(-1).name}; there are more.` : "");
  byId("next-rollouts").disabled = state.more === null;
  byId("first-rollouts").disabled = state.from === null;
}

/** Has the list begin behind a name. */
function turnTo(from) {
  Object.assign(state, { from, listed: -Infinity });
  run();
}

/** Takes over what the API says of the rollout that is shown. */
function take(rollout) {
  state.rollout = rollout;
  state.history.add(rollout, performance.now());
  draw();
}

/** Shows the rollout of the address, or else the first one that needs a person, or the first one. */
function choose() {
  let chosen = "";
  try {
    chosen = decodeURIComponent(location.hash.slice(1));
  } catch { /* an address that is none */ }
  document.body.classList.toggle("chosen", chosen !== "");
  const first = state.rollouts.find(({ phase }) => phase === "paused" || phase === "failed") ?? state.rollouts[0];
  const name = chosen || (state.name ?? first?.name ?? null);
  if (name === state.name) return;
  Object.assign(state, { name, rollout: null, events: [], differences: null, history: new History(), revision: null });
  frame = null;
  allEvents = false;
  byId("rollout").replaceChildren();
}

const pathOf = (name, what = "") => `/v1/rollouts/${encodeURIComponent(name)}${what}`;

async function askForList() {
  const rollouts = [];
  const { from } = state;
  let after = from;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await call(`/v1/rollouts${after === null ? "" : `?after=${encodeURIComponent(after)}`}`);
    rollouts.push(...answer.rollouts);
    after = answer.next;
    if (after === null) break;
  }
  if (state.from === from) Object.assign(state, { rollouts, more: after, listed: performance.now() });
}

async function askForRollout(name) {
  const rollout = await call(pathOf(name));
  const hasShadow = rollout.mirror !== null || state.differences?.compared > 0 || rollout.steps.some((step) => step.set_mirror !== undefined);
  const differences = hasShadow ? await call(pathOf(name, "/differences")) : null;
  let { events } = state;
  if (state.revision !== rollout.revision) {
    ({ events } = await call(pathOf(name, "/events")));
    const [newest] = events;
    if (state.name === name && state.events.length > 0 && newest?.time !== state.events[0].time) say(`${name}: ${newest.message}`);
  }
  if (state.name !== name) return; // another one was chosen meanwhile
  Object.assign(state, { differences, events, revision: rollout.revision });
  take(rollout);
}

/** One round of questions; says when to ask again, in milliseconds. */
async function round() {
  try {
    const due = state.rollouts.length <= FEW || performance.now() - state.listed >= 5 * PERIOD;
    if (due) await askForList();
    choose();
    drawList();
    if (state.name !== null) await askForRollout(state.name);
    connected("live", `Live, ${new Date().toLocaleTimeString("en-GB")}`);
    return PERIOD;
  } catch (problem) {
    // An Envoy that has started again counts revisions anew: its events are other ones.
    state.revision = null;
    if (!(problem instanceof Problem)) {
      connected("lost", "This page has failed; trying again");
      console.error(problem);
      return 2 * PERIOD;
    }
    if (problem.status === 401) {
      byId("token").hidden = false;
      connected("lost", "This page needs a token");
      return null; // until there is one
    }
    if (problem.status === 404 && state.name !== null) {
      connected("lost", sentence(problem.message));
      // It may be gone, or an Envoy that has just started does not know it yet.
      return PERIOD;
    }
    connected("lost", `${sentence(problem.message)} Trying again.`);
    return Math.max(problem.retryAfter * 1000, 2 * PERIOD);
  }
}

function connected(how, text) {
  byId("connection").className = `connection ${how}`;
  setText(byId("connection"), text);
}

let timer = null;
let running = false;

/** Asks now, and again and again: not while the page is hidden. */
async function run() {
  if (running) return;
  running = true;
  clearTimeout(timer);
  const wait = await round().finally(() => { running = false; });
  if (wait !== null && !document.hidden) timer = setTimeout(run, wait);
}

addEventListener("hashchange", () => { choose(); drawList(); run(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) run(); });
// The address names a rollout, so the link must not become one.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("rollout").focus();
});
byId("filter").addEventListener("input", drawList);
byId("next-rollouts").addEventListener("click", () => turnTo(state.more));
byId("first-rollouts").addEventListener("click", () => turnTo(null));
byId("token").addEventListener("click", async () => { if (await askForToken(false)) run(); });
run();
