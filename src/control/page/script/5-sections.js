// A rollout is shown in sections, from the top to the bottom in the order in which they are declared here and in the files
// behind this one. A section is `{ id, title, wants(state), draw(body, state) }`: `wants` says whether there is something to
// show, `draw` shows it in `body` once a second. `state` is `{ rollout, events, differences, history }`.

const SECTIONS = [];
const section = (declared) => SECTIONS.push(declared);

const versions = (rollout) =>
  Object.keys(rollout.weights).sort((one, other) => order(rollout, one) - order(rollout, other));
const order = (rollout, version) => ["stable", "candidate", "other"].indexOf(role(rollout, version));

function split(rollout, shares, thin = false) {
  return el("div", { class: `split${thin ? " thin" : ""}`, "aria-hidden": "true" }, versions(rollout)
    .filter((version) => shares[version] > 0)
    .map((version) => el("i", { class: role(rollout, version), "--share": shares[version] })));
}

/** Whether the candidate was taken back. */
const isOver = (phase) => phase === "aborted" || phase === "failed";

const inWords = (rollout, shares) => versions(rollout).filter((version) => shares[version] > 0)
  .map((version) => `${version} ${percent(shares[version])}`).join(", ");

section({
  id: "traffic",
  title: "Traffic",
  wants: () => true,
  draw(body, { rollout }) {
    const { weights, observed_share: observed, mirror, steps, step, watch, phase, unit, candidate, stable } = rollout;
    const data = { weights, observed, mirror, steps, step, watch, phase, unit, candidate, stable };
    show(body, data, () => [
      el("p", { class: "legend" }, versions(rollout).map((version) => el("span", { class: `version ${role(rollout, version)}` },
        version, role(rollout, version) !== "other" && el("span", { class: "faint" }, ` ${role(rollout, version)}`)))),
      el("div", { class: "shares" },
        el("span", { class: "faint" }, "Wanted"), split(rollout, weights), el("span", {}, inWords(rollout, weights)),
        Object.keys(observed).length > 0 && !isOver(phase) && [
          el("span", { class: "faint" }, "Observed"), split(rollout, observed), el("span", {}, inWords(rollout, observed)),
        ],
        mirror > 0 && [
          el("span", { class: "faint" }, "Mirrored"), split(rollout, { [candidate ?? ""]: mirror, [stable]: 100 - mirror }, true),
          el("span", {}, `${percent(mirror)} of the requests are copied`),
        ]),
      steps.length > 0 && el("ol", { class: "steps", "aria-label": "Steps" }, stages(rollout).map((stage) =>
        el("li", { class: stage.state, "aria-current": stage.state === "now" ? "step" : null },
          el("b", {}, stage.title), el("span", {}, stage.detail), stage.word && el("span", { class: "state" }, ` ${stage.word}`)))),
      waits(rollout),
    ]);
  },
});

/** Steps as people think of them: what is set, and how long it lasts. */
function stages(rollout) {
  const { steps, step, phase } = rollout;
  const stages = [];
  steps.forEach((planned, index) => {
    const last = stages.at(-1);
    const sets = planned.set_weight ? inWords(rollout, planned.set_weight) || "no traffic"
      : planned.set_mirror !== undefined ? `mirror ${percent(planned.set_mirror)}`
      : planned.set_degree ?? null;
    if (sets === null && last && !last.waits) {
      Object.assign(last, { detail: waiting(planned, rollout), waits: true, to: index });
    } else {
      stages.push({ title: sets ?? (planned.ready ? "ready" : "wait"), detail: sets === null ? waiting(planned, rollout) : "", waits: sets === null, from: index, to: index });
    }
  });
  for (const stage of stages) {
    const isNow = step.index >= stage.from && step.index <= stage.to;
    stage.state = step.index > stage.to ? "done" : isNow ? (isOver(phase) ? "stopped" : "now") : "";
    stage.word = { done: "done", now: phase === "paused" ? "waits" : "now", stopped: "ended here" }[stage.state];
  }
  return stages;
}

/** What a step waits for. */
function waiting({ pause, ready }, { unit }) {
  if (ready) return `until it is ready (${ready.path} answers ${ready.expect})`;
  if (!pause) return "";
  const parts = [
    isNumber(pause.duration_ms) && (pause.duration_ms > 0 || !(pause.min_requests || pause.min_compared || pause.min_agreement || pause.min_decisions || pause.min_coverage))
      && duration(pause.duration_ms),
    pause.min_requests && units(unit, pause.min_requests),
    pause.min_compared && `${number(pause.min_compared)} compared`,
    pause.min_decisions && `${number(pause.min_decisions)} decisions`,
    pause.min_agreement && `${rate(pause.min_agreement)} agreement`,
    pause.min_coverage && `${rate(pause.min_coverage)} proven coverage`,
  ].filter(Boolean);
  return parts.length ? `for ${parts.join(" and ")}` : "until promoted";
}

/** How far the present step, or the watch after the last one, has come. */
function waits({ steps, step, watch, phase, unit }) {
  if (phase !== "progressing" && phase !== "paused" && !watch) return null;
  const pause = steps[step.index]?.pause;
  const progress = [
    watch && ["Watched after the change", watch.waited_ms, watch.duration_ms, duration],
    pause?.duration_ms > 0 && ["Time", step.waited_ms, pause.duration_ms, duration],
    pause?.min_requests && [unit === "users" ? "Users" : "Requests", step.requests, pause.min_requests, number],
    pause?.min_compared && ["Compared answers", step.compared, pause.min_compared, number],
    pause?.min_decisions && ["Decisions", step.decisions ?? 0, pause.min_decisions, number],
    pause?.min_agreement && ["Agreement, lower end", step.agreement?.low ?? 0, pause.min_agreement, rate],
  ].filter(Boolean);
  return progress.length > 0 && el("div", { class: "waits" }, progress.map(([name, value, of, format]) =>
    el("div", {}, el("span", { class: "faint" }, `${name} `), `${format(value)} of ${format(of)}`, meter(value / of))));
}

function meter(part, heat = "") {
  const share = Math.min(Math.max(part || 0, 0), 1);
  return el("div", { class: `meter ${heat}`, "aria-hidden": "true" }, el("i", { "--part": `${share * 100}%` }));
}

section({
  id: "alarms",
  title: "Alarms",
  wants: ({ rollout }) => rollout.alarms?.length > 0,
  draw(body, { rollout: { alarms } }) {
    show(body, alarms, () => el("ul", {}, alarms.map(({ name, raised, since, sentence }) =>
      el("li", { class: raised ? "said bad" : null }, el("b", {}, name), raised ? ` raised since ${clock(since)}: ` : ": ", sentence))));
  },
});

section({
  id: "drift",
  title: "Drift",
  wants: ({ rollout }) => rollout.drift?.length > 0,
  draw(body, { rollout: { drift, stable } }) {
    show(body, { drift, stable }, () => [
      el("p", {}, `How far metrics of ${stable} have moved from their reference, in units of their noise: above 1 by more than chance.`),
      el("div", { class: "scroll" }, el("table", {},
        el("caption", { class: "unseen" }, "How far each metric has moved, by window"),
        el("thead", {}, el("tr", {}, ["Metric", ...drift[0].windows.map(({ window }) => `in ${window}`), "Reference"]
          .map((head) => el("th", { scope: "col" }, head)))),
        el("tbody", {}, drift.map(({ metric, frozen, observations, windows }) => el("tr", {}, el("th", { scope: "row" }, metricName(metric)),
          windows.map(({ times_noise: times, size }) => el("td", {}, isNumber(times)
            ? [el(times > 1 ? "b" : "span", {}, number(times)), el("span", { class: "faint small" }, ` size ${number(size)}`)] : "–")),
          el("td", {}, frozen === null ? "none yet" : `${clock(frozen)}, of ${count(observations, "observation")}`)))))),
    ]);
  },
});

section({
  id: "charts",
  title: "While you watch",
  wants: ({ rollout }) => rollout.candidate !== null,
  draw(body, { rollout, history }) {
    body.classList.add("charts");
    const { samples } = history;
    const { candidate, stable } = rollout;
    const both = (name) => [
      { name: stable, role: "stable", values: samples.map((sample) => sample[name]?.stable ?? null) },
      { name: candidate, role: "candidate", values: samples.map((sample) => sample[name]?.candidate ?? null) },
    ];
    const latency = chartedLatency(rollout);
    const threshold = rollout.evidence.find((evidence) => isNumber(evidence.threshold))?.threshold ?? null;
    const charts = [
      chart(samples, {
        title: `Share of ${candidate}`, format: percent,
        lines: [
          { name: "observed", role: "candidate", values: samples.map((sample) => sample.observed) },
          { name: "wanted", role: "wanted", values: samples.map((sample) => sample.wanted) },
        ],
      }),
      chartedErrors(rollout) && chart(samples, { title: "Errors", format: rate, lines: both("errors"), top: 0.02 }),
      latency && chart(samples, {
        title: `Latency, ${percentile(latency.quantile)}`, format: (value) => `${number(Math.round(value * 10) / 10)}\u00a0ms`,
        lines: both("latency"),
      }),
      threshold !== null && chart(samples, {
        title: `Evidence against ${candidate}`, format: odds, axis: (log10) => (log10 > 0 ? power(log10) : "1"), limit: threshold,
        round: (log10) => Math.ceil(log10 + 0.3),
        lines: [{ name: "", role: "candidate", values: samples.map((sample) => sample.evidence) }],
      }),
    ].filter(Boolean);
    body.replaceChildren(...charts);
  },
});

section({
  id: "evidence",
  title: "Is the candidate worse?",
  wants: ({ rollout }) => rollout.evidence.length > 0 && rollout.candidate !== null,
  draw(body, { rollout }) {
    const all = rollout.evidence.find((evidence) => evidence.metric === "all");
    const metrics = rollout.evidence.filter((evidence) => evidence !== all && groupOf(evidence.metric) === "service");
    const { candidate, stable, unit } = rollout;
    show(body, { all, metrics, candidate, stable, unit }, () => [
      el("p", {}, verdict(all, candidate, stable)),
      metricsTable(metrics.concat(all ?? []), all, rollout, "Each metric's difference, and the evidence for it"),
    ]);
  },
});

section({
  id: "inputs-outputs",
  title: "Inputs and outputs",
  wants: ({ rollout }) => rollout.evidence.some((evidence) => groupOf(evidence.metric) !== "service"),
  draw(body, { rollout }) {
    const all = rollout.evidence.find((evidence) => evidence.metric === "all");
    const group = (name) => rollout.evidence.filter((evidence) => groupOf(evidence.metric) === name);
    const { candidate, stable, unit } = rollout;
    show(body, { groups: [group("outputs"), group("inputs")], candidate, stable, unit }, () => [
      metricsTable(group("outputs").concat(group("inputs")), all, rollout, "Fields of requests and answers, of both versions"),
      group("inputs").length > 0 && el("p", { class: "faint small" },
        "A difference between the inputs says nothing about the candidate: it voids what else is found."),
    ]);
  },
});

/** What the evidence says so far. */
function verdict(all, candidate, stable) {
  const { log10_e: value, threshold } = all ?? {};
  if (!isNumber(value) || !isNumber(threshold)) return "Nothing has been judged yet.";
  if (value >= threshold) return `Yes: the evidence that ${candidate} is worse than ${stable} is ${odds(value)}, beyond ${odds(threshold)}.`;
  if (value <= 0) return `There is no evidence that ${candidate} is worse than ${stable}. It counts as worse at ${odds(threshold)}.`;
  return `The evidence that ${candidate} is worse than ${stable} is ${odds(value)}. It counts as worse at ${odds(threshold)}.`;
}

function metricsTable(metrics, all, rollout, caption) {
  const threshold = all?.threshold;
  const heat = (value) => (value >= threshold ? "full" : value > threshold / 2 ? "warm" : "");
  const rows = metrics.map((evidence) => el("tr", { class: evidence === all ? "all" : null },
    el("th", { scope: "row" }, metricName(evidence.metric)),
    el("td", {}, evidence === all ? el("span", { class: "faint" }, "the average decides") : evidence.tests?.length > 0
      ? differences(evidence.tests, rollout).map((text) => el("div", {}, text)) : el("span", { class: "faint" }, "nothing to compare yet")),
    el("td", {}, `${odds(evidence.log10_e)}${evidence === all ? `, of ${odds(threshold)}` : ""}`,
      isNumber(threshold) && meter(evidence.log10_e / threshold, heat(evidence.log10_e)))));
  return el("table", { class: "metrics" }, el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, ["Metric", `${rollout.candidate ?? "Candidate"} against ${rollout.stable}`, "Evidence"]
      .map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows));
}

/** A metric's tests in words. Two that look at the same counts, for more and for less, are said once. */
function differences(tests, rollout) {
  const said = new Map();
  for (const test of tests) {
    const counts = JSON.stringify([test.samples, test.quantile, test.max]);
    if (!said.has(counts) || test.at_least > 1) said.set(counts, difference(test, rollout));
  }
  return [...said.values()];
}

function difference(test, { unit }) {
  const { samples: { candidate, stable }, quantile, slower_than_ms: edges, max, against } = test;
  if (quantile !== null && !edges) return `${percentile(quantile)}: not judged before there are enough of stable's durations`;
  if (isNumber(candidate.mean) || isNumber(stable.mean)) {
    return `${number(candidate.mean)} against ${number(stable.mean)} on average, of ${units(unit, candidate.units)}`;
  }
  if (candidate.units === 0) return "nothing to compare yet";
  const part = (sample) => rate(sample.units > 0 ? (sample.events ?? 0) / sample.units : NaN);
  const who = test.worse_if === "less" ? "stable " : "";
  const times = test.at_least > 1 ? `: ${who}at least ${lowest(test.at_least)} times as often` : "";
  if (against === "limit") return `${part(candidate)} of ${units(unit, candidate.units)}; the limit is ${rate(max)}`;
  if (against === "copy") return `${number(candidate.events)} of ${number(candidate.units)} differences are the candidate's, not the copy's`;
  if (quantile === null) return `${part(candidate)} against ${part(stable)}, of ${number(candidate.units)} and ${units(unit, stable.units)}${times}`;
  const ms = (value) => `${number(Math.round(value * 10) / 10)}\u00a0ms`;
  const measured = test.measured_ms ? `${percentile(quantile)} ${ms(test.measured_ms.candidate)} against ${ms(test.measured_ms.stable)}` : percentile(quantile);
  return `${measured} (slower than ${ms(edges.candidate)}: ${part(candidate)}; stable, than ${ms(edges.stable)}: ${part(stable)})${times}`;
}
