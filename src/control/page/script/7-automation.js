// How far a model has taken over people's work.

const DEGREES = ["human", "shadow", "assist", "partial", "full"];

section({
  id: "automation",
  title: "People and model",
  wants: ({ rollout }) => Boolean(rollout.automation),
  draw(body, { rollout }) {
    const { automation, stable, candidate } = rollout;
    show(body, { automation, stable, candidate }, () => {
      const { degree, threshold, coverage, target, audit } = automation;
      return [
        el("ol", { class: "steps", "aria-label": "Degrees of automation" }, DEGREES.map((name) => {
          const state = name === degree ? "now" : DEGREES.indexOf(name) < DEGREES.indexOf(degree) ? "done" : "";
          return el("li", { class: state, "aria-current": name === degree ? "step" : null }, el("b", {}, name));
        })),
        el("p", {}, alone(degree, threshold, coverage, candidate ?? "the model")),
        el("div", { class: "halves" },
          el("div", {}, decided(automation), audit && el("p", { class: "faint" },
            `The evidence that it disagrees too often in what it answers alone is ${odds(audit.log10_e)}; at ${odds(audit.threshold)} the degree goes down.`)),
          el("div", {}, target && riskCurve(target, threshold), automation.labels.length > 0 && matrix({
            pairs: automation.labels.map(({ human, model, tasks }) => ({ stable: human, shadow: model, pairs: tasks })), kappa: automation.kappa,
          }, stable, candidate ?? "the model"))),
      ];
    });
  },
});

/** What the model answers alone. */
function alone(degree, threshold, coverage, model) {
  if (degree === "full") return `${model} answers every task.`;
  if (degree !== "partial") return "People decide every task.";
  if (!isNumber(threshold)) return `Nothing is proven yet: people decide every task.`;
  return `${model} answers alone from confidence ${number(threshold)} on: ${rate(coverage)} of the tasks.`;
}

/** How often people and model agree, by what people had seen. */
function decided({ blind, shown, audited, people }) {
  const rows = [
    ["Without seeing the model's answer", blind],
    ["Seeing it, which proves nothing", shown],
    ["Tasks that the model had answered alone", audited],
    ["Two people with each other", people],
  ].filter(([, { tasks }]) => tasks > 0);
  if (rows.length === 0) return el("p", { class: "faint" }, "People have decided nothing yet.");
  return el("div", { class: "scroll" }, el("table", {},
    el("caption", { class: "unseen" }, "How often people and model agree"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Decided"), el("th", { scope: "col", class: "number" }, "Tasks"),
      el("th", { scope: "col" }, "Agreement"))),
    el("tbody", {}, rows.map(([name, { tasks, agreement }]) => el("tr", {}, el("th", { scope: "row" }, name),
      el("td", { class: "number" }, number(tasks)),
      el("td", {}, `${rate(agreement.value)} (${rate(agreement.low)} to ${rate(agreement.high)})`))))));
}

/** Thresholds: what each leaves to the model, and how often people decide otherwise. */
function riskCurve({ max_disagreement: most, thresholds, reachable }, inForce) {
  const rows = thresholds.filter((one, at) => at % Math.ceil(thresholds.length / 8 || 1) === 0 || one.confidence === inForce);
  return [
    el("h3", {}, `Thresholds: at most ${rate(most)} disagreement`),
    thresholds.length > 1 && coverageChart(thresholds, most, inForce),
    el("div", { class: "scroll" }, el("table", {},
      el("caption", { class: "unseen" }, "What each threshold leaves to the model, and how often people decide otherwise"),
      el("thead", {}, el("tr", {}, ["Confidence", "Answered alone", "Disagreement", "Proof"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((one) => el("tr", {}, el("th", { scope: "row" }, number(one.confidence)), el("td", {}, rate(one.coverage)),
        el("td", {}, `${rate(one.disagreement)}, at most ${rate(one.at_most)}`),
        el("td", {}, one.proven ? "proven" : isNumber(one.missing) ? `about ${number(one.missing)} decisions short` : "out of reach")))))),
    reachable < 1 && el("p", { class: "faint small" }, `No threshold could leave more than ${rate(reachable)} of the tasks to it.`),
  ];
}

/** The same as a curve: the more a threshold leaves to the model, the further right; the line is what is allowed. */
function coverageChart(thresholds, most, inForce) {
  const top = niceTop(Math.max(most, ...thresholds.map(({ disagreement }) => disagreement)) * 1.2);
  const x = ({ coverage }) => coverage * WIDTH;
  const y = (part) => HEIGHT - (Math.min(part, top) / top) * HEIGHT;
  const line = (name) => path(thresholds.map((one) => [x(one), one[name], y]));
  const chosen = thresholds.find(({ confidence }) => confidence === inForce);
  const summary = thresholds.map((one) => `${rate(one.disagreement)} at ${rate(one.coverage)}`);
  return el("figure", { class: "curve" },
    el("figcaption", {}, el("span", { class: "faint small" }, "Disagreement (dotted: at most) by the part that the model answers alone")),
    svg("svg", { viewBox: `-46 -6 ${WIDTH + 50} ${HEIGHT + 22}`, role: "img", "aria-label": `Disagreement by coverage: ${summary.join(", ")}` },
      [0, 1].map((part) => [
        svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(part * top), y2: y(part * top) }),
        svg("text", { class: "tick", x: -5, y: y(part * top) + 3.5, "text-anchor": "end" }, rate(part * top)),
        svg("text", { class: "tick", x: part * WIDTH, y: HEIGHT + 13, "text-anchor": part ? "end" : "start" }, rate(part)),
      ]),
      svg("line", { class: "limit", x1: 0, x2: WIDTH, y1: y(most), y2: y(most) }),
      svg("path", { class: "trace candidate wanted", d: line("at_most") }),
      svg("path", { class: "trace candidate", d: line("disagreement") }),
      chosen && svg("circle", { class: "chosen", cx: x(chosen), cy: y(chosen.disagreement), r: 4 })));
}
