// What was polled so far, and small charts of it.

/** Samples that are kept: ten minutes, one a second. */
const MOST_SAMPLES = 600;
/** Milliseconds over which rates are taken: a second of a small share has too few requests. */
const SMOOTH = 10_000;

/** What was polled of one rollout. */
class History {
  constructor() {
    this.samples = [];
    this.counts = new Map();
  }

  /** Adds what the API says at a time in milliseconds. */
  add(rollout, now) {
    const all = rollout.evidence.find((evidence) => evidence.metric === "all");
    this.samples.push({
      now,
      wanted: rollout.weights[rollout.candidate] ?? null,
      observed: rollout.observed_share[rollout.candidate] ?? null,
      evidence: all?.log10_e ?? null,
      errors: this.#since(now, "errors", chartedErrors(rollout)),
      latency: chartedLatency(rollout)?.measured_ms ?? null,
    });
    if (this.samples.length > MOST_SAMPLES) this.samples.shift();
  }

  /** The rates of the last seconds, from counts that only grow until a step begins them anew. */
  #since(now, name, test) {
    if (!test) return null;
    const past = this.counts.get(name) ?? [];
    this.counts.set(name, past);
    const { candidate, stable } = test.samples;
    const here = { now, counts: [candidate.events ?? 0, candidate.units, stable.events ?? 0, stable.units] };
    const last = past.at(-1);
    const grew = last?.counts.every((count, at) => count <= here.counts[at]);
    if (!grew) past.length = 0;
    if (last && !grew) past.push({ ...here, counts: [0, 0, 0, 0] });
    past.push(here);
    while (past.length > 2 && past[1].now <= now - SMOOTH) past.shift();
    const more = here.counts.map((count, at) => count - past[0].counts[at]);
    const part = (events, all) => (all > 0 ? events / all : null);
    return { candidate: part(more[0], more[1]), stable: part(more[2], more[3]) };
  }
}

const testsOf = (rollout, metric) => rollout.evidence.find((evidence) => evidence.metric === metric)?.tests ?? [];
const chartedErrors = (rollout) => testsOf(rollout, "error_rate")[0];
/** The quantile next to the 90th percentile: what most people wait for, and many enough answers to tell it. */
const chartedLatency = (rollout) => {
  const tests = testsOf(rollout, "latency").filter((test) => test.measured_ms);
  return tests.sort((one, other) => Math.abs(one.quantile - 0.9) - Math.abs(other.quantile - 0.9))[0];
};

const WIDTH = 320;
const HEIGHT = 72;

/**
 * A chart of lines: `{ title, note, lines: [{ name, role, values }], format, axis, round, top, limit }`. `values` are numbers or
 * `null`, one a sample. The newest ones stand beside its title in words.
 */
function chart(samples, { title, note, lines, format, axis = format, round = niceTop, top = 0, limit = null }) {
  const values = lines.flatMap((line) => line.values).filter(isNumber);
  const most = round(Math.max(top, limit ?? 0, ...values, 0));
  const [first, last] = [samples[0]?.now ?? 0, samples.at(-1)?.now ?? 0];
  const span = Math.max(last - first, 60_000);
  const x = (sample) => WIDTH - ((last - sample.now) / span) * WIDTH;
  const y = (value) => HEIGHT - (Math.min(Math.max(value, 0), most) / most) * HEIGHT;
  const paths = lines.map((line) => svg("path", {
    class: `trace ${line.role}`, d: path(samples.map((sample, at) => [x(sample), line.values[at], y])),
  }));
  const newest = lines.map((line) => [line, line.values.findLast(isNumber)]);
  const summary = newest.map(([line, value]) => `${line.name} ${isNumber(value) ? format(value) : "not known"}`).join(", ");
  return el("figure", {},
    el("figcaption", {},
      el("h3", {}, title),
      el("span", { class: "legend small" }, newest.map(([line, value]) =>
        el("span", { class: `version ${line.role}` }, `${line.name} ${isNumber(value) ? format(value) : "–"}`)))),
    svg("svg", { viewBox: `-46 -6 ${WIDTH + 50} ${HEIGHT + 22}`, role: "img", "aria-label": `${title}: ${summary}` },
      [0, 0.5, 1].map((part) => [
        svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(part * most), y2: y(part * most) }),
        part !== 0.5 && svg("text", { class: "tick", x: -5, y: y(part * most) + 3.5, "text-anchor": "end" }, axis(part * most)),
      ]),
      limit !== null && [
        svg("line", { class: "limit", x1: 0, x2: WIDTH, y1: y(limit), y2: y(limit) }),
        svg("text", { class: "tick", x: 4, y: y(limit) - 4 }, `threshold ${format(limit)}`),
      ],
      paths,
      svg("text", { class: "tick", x: 0, y: HEIGHT + 13 }, `${duration(span)} ago`),
      svg("text", { class: "tick", x: WIDTH, y: HEIGHT + 13, "text-anchor": "end" }, "now")),
    note && el("p", { class: "faint small" }, note));
}

/** A line through all numbers, with gaps where there is none. */
function path(points) {
  let drawn = "";
  let pen = "M";
  for (const [x, value, y] of points) {
    if (isNumber(value)) drawn += `${pen}${x.toFixed(1)} ${y(value).toFixed(1)}`;
    pen = isNumber(value) ? "L" : "M";
  }
  return drawn;
}

/** The next of 1, 2, 2.5, 5, 10 … that is not below a number. */
function niceTop(value) {
  if (!(value > 0)) return 1;
  const ten = 10 ** Math.floor(Math.log10(value));
  return ten * [1, 2, 2.5, 5, 10].find((nice) => nice * ten >= value * 0.999);
}
