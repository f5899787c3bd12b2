// Figures and names in the words that people use.

const NAMES = {
  "error_rate": "Errors",
  "latency": "Latency",
  "unanswered": "Left before an answer",
  "client_error_rate": "Client errors",
  "output.null": "Answers without a value",
  "output.error_object": "Errors inside answers",
  "output.unreadable": "Unreadable answers",
  "output.label": "Answers labelled",
  "output.truncated": "Truncated answers",
  "output.refused": "Refused answers",
  "output.length": "Length of answers",
  "output.tokens": "Tokens of answers",
  "output.value": "Value of answers",
  "output.confidence": "Confidence",
  "latency.first_token": "Time to the first token",
  "latency.per_token": "Time per token",
  "input.missing": "Requests without",
  "input.length": "Length of requests",
  "input.unseen": "Unknown category in",
  "mirror.disagreement": "Shadow disagrees",
  "feedback.": "Feedback:",
};

/** A signal that has no word of its own above: `output.new_kind` is "Output new kind". */
const plain = (row) => row.charAt(0).toUpperCase() + row.slice(1).replace(/[._]/g, " ");

/** A metric as people call it: `output.label:cat` is "Answers labelled cat". */
function metricName(metric) {
  if (metric === "all") return "All together";
  if (metric === "error_rate.window") return "Errors since the flip";
  if (metric.startsWith("feedback.")) return `${NAMES["feedback."]} ${metric.slice("feedback.".length)}`;
  const limit = metric.endsWith(".max");
  const [row, ...parameter] = (limit ? metric.slice(0, -4) : metric).split(":");
  const name = [Object.hasOwn(NAMES, row) ? NAMES[row] : plain(row), parameter.join(":")].filter(Boolean).join(" ");
  return limit ? `${name}, limit` : name;
}

/** The group that a metric is shown in. */
function groupOf(metric) {
  if (metric.startsWith("input.")) return "inputs";
  if (metric.startsWith("output.") || metric.startsWith("feedback.")) return "outputs";
  return "service";
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A number with as many digits as help; thousands are set apart. */
function number(value) {
  if (!isNumber(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: digits });
}

/** A lower bound, never above it: what `number` does not show is cut off. */
function lowest(value) {
  const scale = value >= 100 ? 1 : value >= 10 ? 10 : 100;
  return number(Math.floor(value * scale + 1e-6) / scale); // 1.15 * 100 is less than 115
}

/** A share between 0 and 1, in percent. */
function rate(share) {
  if (!isNumber(share)) return "–";
  const percent = share * 100;
  const digits = percent === 0 || percent === 100 ? 0 : percent < 0.1 ? 3 : percent < 1 ? 2 : 1;
  return `${percent.toFixed(digits)}\u00a0%`;
}

/** A share that is in percent already. */
const percent = (value) => (isNumber(value) ? `${Number(value.toFixed(2))}\u00a0%` : "–");

/** Milliseconds as a configuration writes them: `4m 12s`. */
function duration(milliseconds) {
  if (!isNumber(milliseconds)) return "–";
  if (milliseconds > 0 && milliseconds < 1000) return `${Math.round(milliseconds)}\u00a0ms`;
  const seconds = Math.floor(milliseconds / 1000);
  const parts = [[Math.floor(seconds / 3600), "h"], [Math.floor(seconds / 60) % 60, "m"], [seconds % 60, "s"]];
  const some = parts.filter(([count]) => count > 0).map(([count, unit]) => count + unit);
  return some.length ? some.join("\u00a0") : "0s";
}

/** A time of the API, as this browser's clock shows it. */
function clock(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return String(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString("en-GB") : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** An e-value, given as its decimal logarithm, as odds: `130 to 1`. */
function odds(log10) {
  if (!isNumber(log10)) return "–";
  if (log10 >= 6) return `10^${Math.round(log10)} to 1`;
  if (log10 <= 0) return "none";
  const value = 10 ** log10;
  return `${value < 10 ? Number(value.toFixed(1)) : Math.round(value).toLocaleString("en")} to 1`;
}

/** A power of ten for an axis. */
const power = (log10) => (log10 < 4 ? number(Math.round(10 ** log10)) : `10${[...String(Math.round(log10))].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`);

const count = (many, one) => `${number(many)} ${many === 1 ? one : `${one}s`}`;

const units = (unit, many) => count(many, unit === "users" ? "user" : "request");

/** `99th percentile` for 0.99. */
function percentile(quantile) {
  const nth = Number((quantile * 100).toFixed(3));
  if (nth === 50) return "median";
  const last = nth % 10;
  const teen = nth % 100 >= 11 && nth % 100 <= 13;
  const ending = !Number.isInteger(nth) || teen ? "th" : { 1: "st", 2: "nd", 3: "rd" }[last] ?? "th";
  return `${nth}${ending} percentile`;
}

/** The phase in words, and the tone that it is shown in. */
const PHASES = {
  steady: ["Steady", ""],
  progressing: ["Progressing", "progressing"],
  paused: ["Paused", "held"],
  succeeded: ["Succeeded", "good"],
  aborted: ["Aborted", "bad"],
  failed: ["Rolled back", "bad"],
};
const phaseOf = (rollout) => {
  const [word, tone] = PHASES[rollout.phase] ?? [String(rollout.phase), ""];
  return rollout.pinned ? [`${word}, pinned`, "held"] : [word, tone];
};

/** The tone of an event's action. */
const TONES = { rollback: "bad", abort: "bad", pause: "held", alarm: "held", clear: "good", succeed: "good" };
const ACTIONS = {
  start: "Start", step: "Step", succeed: "Success", rollback: "Rollback", abort: "Abort", pause: "Pause", resume: "Resume",
  retry: "Retry", alarm: "Alarm", clear: "Alarm over", flip: "Flip", change: "Change",
};
const tone = (action) => (Object.hasOwn(TONES, action) ? TONES[action] : "");
const actionName = (action) => (Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : String(action));

/** The role of a version in a rollout, as a class. */
const role = (rollout, version) =>
  version === rollout.stable ? "stable" : version === rollout.candidate ? "candidate" : "other";

/** What the API says as a sentence. The names of a rollout's versions stay as they are. */
function sentence(text, rollout = null) {
  const isName = Object.keys(rollout?.weights ?? {}).some((version) => text.startsWith(`${version} `));
  const all = isName ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(all) ? all : `${all}.`;
}
