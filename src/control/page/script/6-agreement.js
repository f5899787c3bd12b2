// How often the shadow agrees with stable, and where it does not.

/** Labels that the matrix shows. */
const MOST_LABELS = 12;

section({
  id: "agreement",
  title: "Agreement of the shadow",
  wants: ({ differences }) => differences !== null && (differences.compared > 0 || differences.failed > 0),
  draw(body, { differences, rollout }) {
    const stable = rollout.stable;
    show(body, { differences, stable }, () => {
      const { agreement, compared, matched, failed, shadow, labels, fields, samples, baseline, other_fields: others } = differences;
      return el("div", { class: "halves" },
        el("div", {},
          agreement && el("p", { class: "figure" }, rate(agreement.value)),
          el("p", {}, `${shadow ?? "The shadow"} agrees with ${stable} in ${number(matched)} of ${number(compared)} answers`,
            agreement && ` (${rate(agreement.low)} to ${rate(agreement.high)}, at any time of looking)`, "."),
          failed > 0 && el("p", {}, `It gave no answer to ${units("requests", failed)}.`),
          baseline && el("p", {}, `A copy of ${stable} agrees with it in ${rate(baseline.agreement.value)}.`),
          measures(differences).map((text) => el("p", { class: "faint" }, text)),
          fields.length > 0 && el("div", { class: "scroll" }, el("table", {},
            el("caption", { class: "unseen" }, "Fields that differ"),
            el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Where they differ"), el("th", { scope: "col" }, "How"),
              el("th", { scope: "col", class: "number" }, "Answers"))),
            el("tbody", {}, [...fields].sort((one, other) => other.pairs - one.pairs).slice(0, 8).map((field) => el("tr", {},
              el("th", { scope: "row" }, el("code", {}, field.field || "the whole answer")), el("td", {}, field.kind),
              el("td", { class: "number" }, number(field.pairs))))))),
          others > 0 && el("p", { class: "faint small" }, `${count(others, "difference")} in further fields.`)),
        el("div", {}, labels && matrix(labels, stable, shadow ?? "shadow"), samples.length > 0 && newest(samples, stable, shadow ?? "shadow")));
    });
  },
});

function measures({ overlap, texts, length_ratio: length, numbers }) {
  return [
    isNumber(overlap) && `Ranked lists share ${rate(overlap)}.`,
    texts && `${rate(texts.normalised)} of the texts are the same but for case and white space; the mean F1 of their tokens is ${number(texts.f1)}.`,
    numbers.compared > 0 && `${number(numbers.beyond)} of ${count(numbers.compared, "number")} differ by more than is tolerated.`,
    isNumber(length) && `The shadow's answers are ${number(length)} times as long.`,
  ].filter(Boolean);
}

/** The confusion matrix: stable's label in rows, the shadow's in columns. */
function matrix({ pairs, kappa }, stable, shadow) {
  const sums = new Map();
  for (const cell of pairs) for (const label of new Set([cell.stable, cell.shadow])) sums.set(label, (sums.get(label) ?? 0) + cell.pairs);
  const all = [...sums.keys()].sort((one, other) => sums.get(other) - sums.get(one));
  const names = all.slice(0, MOST_LABELS).sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  const at = (row, column) => pairs.find((cell) => cell.stable === row && cell.shadow === column)?.pairs ?? 0;
  const rowSum = (row) => pairs.filter((cell) => cell.stable === row).reduce((sum, cell) => sum + cell.pairs, 0);
  return [
    el("h3", {}, `Labels: ${stable} in rows, ${shadow} in columns`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, el("table", { class: "matrix" },
      el("caption", { class: "unseen" }, `How many answers have which label of ${stable} and of ${shadow}`),
      el("thead", {}, el("tr", {}, el("td", { class: "none" }), names.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, names.map((row) => el("tr", {}, el("th", { scope: "row" }, row), names.map((column) => {
        const many = at(row, column);
        const kind = many === 0 ? "none" : row === column ? "agree" : "differ";
        return el("td", { class: kind, "--part": many / Math.max(rowSum(row), 1) }, number(many));
      })))))),
    el("p", { class: "faint small" }, `Cohen's kappa ${number(kappa)}${all.length > names.length ? `; ${all.length - names.length} rarer labels are not shown` : ""}.`),
  ];
}

/** The newest pairs that differ. */
function newest(samples, stable, shadow) {
  return el("details", {}, el("summary", {}, "Newest answers that differ"), el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Time", "Field", stable, shadow].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, samples.slice(0, 8).map((sample) => el("tr", {}, el("td", {}, clock(sample.time)),
      el("td", {}, el("code", {}, sample.field || "the whole answer")), el("td", {}, el("code", {}, sample.stable)),
      el("td", {}, el("code", {}, sample.shadow))))))));
}
