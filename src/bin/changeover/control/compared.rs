//! How compared pairs are shown.

use changeover::compare::number::Apart;
use changeover::control::differences::{Baseline, Cell, Differences, Field, Labels, Numbers};

use super::table::Table;
use super::text::{Line, Tone};

/// Rows of a table that are shown; `--json` has all.
const ROWS: usize = 20;

/// What was compared of a release.
pub(super) fn lines(differences: &Differences, width: Option<usize>) -> Vec<Line> {
    let Some(shadow) = differences.shadow.as_deref() else {
        return vec![Line::new(Tone::Plain, "nothing was compared yet")];
    };
    let Differences { release, compared, matched, failed, .. } = differences;
    let pairs = format!("{release}: {shadow} agrees with stable in {matched} of {compared} pairs");
    let mut lines = vec![Line::new(Tone::Plain, &pairs)];
    let mut say = |text: String| lines.push(Line::new(Tone::Plain, &text));
    if let Some(agreement) = differences.agreement {
        say(format!("agreement {agreement}"));
    }
    if let Some(Labels { kappa, kappa_error, .. }) = differences.labels {
        say(format!("kappa {kappa:.3}, standard error {kappa_error:.3}"));
    }
    if *failed > 0 {
        say(format!("no answer {failed}"));
    }
    if let Some(overlap) = differences.overlap {
        say(format!("overlap of lists {:.1} %", overlap * 100.0));
    }
    if let Some(texts) = differences.texts {
        say(format!(
            "same texts but for case and space {:.1} %, token F1 {:.3}",
            texts.normalised * 100.0,
            texts.f1
        ));
    }
    numbers(&differences.numbers).into_iter().flatten().for_each(&mut say);
    if let Some(ratio) = differences.length_ratio {
        say(format!("length of answers {ratio:.2} times stable's"));
    }
    if let Some(baseline) = &differences.baseline {
        beside(shadow, baseline).into_iter().for_each(&mut say);
    }
    lines.extend(fields("field", &differences.fields, width));
    if differences.other_fields > 0 {
        let further =
            format!("and {} differences at fields that are not told apart", differences.other_fields);
        lines.push(Line::new(Tone::Plain, &further));
    }
    if let Some(baseline) = &differences.baseline {
        lines.extend(fields("field, stable and its copy", &baseline.fields, width));
    }
    lines.extend(labels(differences, width));
    lines.extend(samples(differences, width));
    lines.into_iter().map(|line| if let Some(width) = width { line.cut(width) } else { line }).collect()
}

/// The shadow beside stable's own copy.
fn beside(shadow: &str, baseline: &Baseline) -> Vec<String> {
    let Baseline { agreement, beside, only_shadow, only_baseline, both, log10_e, diffy, .. } = baseline;
    let mut lines = vec![
        format!("stable agrees with itself {agreement}"),
        format!(
            "three answers {beside}; only {shadow} differs {only_shadow}, only stable's copy {only_baseline}, both {both}"
        ),
        format!("evidence that {shadow} differs more often than that copy 10^{:.1}", f64::max(*log10_e, 0.0)),
    ];
    lines.extend(diffy.as_ref().map(|diffy| {
        let says = if diffy.reported { "reported" } else { "not reported" };
        format!("by diffy's rule {says}: relative {:.1} %, absolute {:.2} %", diffy.relative, diffy.absolute)
    }));
    lines
}

/// How far apart numbers are: what most and nearly all of them are within. `None`: all are equal.
fn numbers(Numbers { compared, beyond, by_decade }: &Numbers) -> Option<[String; 2]> {
    if by_decade.iter().skip(1).all(|pairs| *pairs == 0) {
        return None;
    }
    let within = |per_mille: u64| {
        let (percent, mut so_far) = (per_mille as f64 / 10.0, 0_u64);
        let place = by_decade.iter().position(|pairs| {
            so_far = so_far.saturating_add(*pairs);
            so_far.saturating_mul(1_000) >= compared.saturating_mul(per_mille)
        });
        match place.unwrap_or(by_decade.len()) {
            0 => format!("{percent} % are equal"),
            place => match Apart::BELOW.get(place) {
                Some(1.0) => format!("{percent} % differ by less than their own size"),
                Some(below) => format!("{percent} % differ by less than {below:e}"),
                None => format!("{percent} % differ by up to their own size or more"),
            },
        }
    };
    let all = format!("numbers {compared}, beyond the tolerance {beyond}");
    Some([all, format!("of them {}, {}", within(990), within(999))])
}

fn samples(differences: &Differences, width: Option<usize>) -> Vec<Line> {
    if differences.samples.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&["time", "field", "stable", "shadow"], "", &[]);
    for sample in differences.samples.iter().take(ROWS) {
        let field = if sample.field.is_empty() { "(answer)" } else { &sample.field };
        let cells = [&sample.time, field, &sample.stable, &sample.shadow];
        table.row(cells.iter().map(|cell| Line::new(Tone::Plain, cell)).collect(), "");
    }
    below(table.lines(width), differences.samples.len())
}

/// A table behind an empty line, and how many of all its rows it does not have.
fn below(table: Vec<Line>, all: usize) -> Vec<Line> {
    let more = all.checked_sub(ROWS).filter(|more| *more > 0);
    let more = more.map(|more| Line::new(Tone::Plain, &format!("{more} more rows: --json")));
    std::iter::once(Line::default()).chain(table).chain(more).collect()
}

fn fields(title: &'static str, fields: &[Field], width: Option<usize>) -> Vec<Line> {
    if fields.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[title, "differs in", "pairs", "elements"], "", &["elements"]);
    let mut sorted: Vec<&Field> = fields.iter().collect();
    sorted.sort_by_key(|field| std::cmp::Reverse(field.pairs));
    for field in sorted.into_iter().take(ROWS) {
        let name = if field.field.is_empty() { "(answer)" } else { &field.field };
        let cells = [name, &field.kind, &field.pairs.to_string(), &field.elements.to_string()];
        table.row(cells.iter().map(|cell| Line::new(Tone::Plain, cell)).collect(), "");
    }
    below(table.lines(width), fields.len())
}

/// The pairs of labels that are not the same, beside all pairs with the same label of stable's.
fn labels(differences: &Differences, width: Option<usize>) -> Vec<Line> {
    let Some(labels) = &differences.labels else { return Vec::new() };
    let mut mistaken: Vec<&Cell> = labels.pairs.iter().filter(|cell| cell.stable != cell.shadow).collect();
    if mistaken.is_empty() {
        return Vec::new();
    }
    mistaken.sort_by_key(|cell| std::cmp::Reverse(cell.pairs));
    let all = mistaken.len();
    let of = |stable: &str| {
        let row = labels.pairs.iter().filter(|cell| cell.stable == stable);
        row.fold(0, |sum: u64, cell| sum.saturating_add(cell.pairs))
    };
    let mut table = Table::new(&["stable", "shadow", "pairs", "of"], "", &[]);
    for cell in mistaken.into_iter().take(ROWS) {
        let cells = [&cell.stable, &cell.shadow, &cell.pairs.to_string(), &of(&cell.stable).to_string()];
        table.row(cells.into_iter().map(|cell| Line::new(Tone::Plain, cell)).collect(), "");
    }
    below(table.lines(width), all)
}

#[cfg(test)]
mod tests {
    use changeover::analysis::kernel::agreement::Agreement;

    use changeover::compare::pointer::Pointer;
    use changeover::compare::settings::Settings;
    use changeover::compare::totals::Totals;
    use changeover::compare::{Answer, compare};
    use changeover::control::differences::{DifferingPair, Diffy};
    use changeover::fleet::differences;

    use super::super::text::write;
    use super::*;

    #[test]
    fn agreement_fields_and_mistaken_labels_are_shown() {
        let cell =
            |stable: &str, shadow: &str, pairs| Cell { stable: stable.into(), shadow: shadow.into(), pairs };
        let field =
            |field: &str, kind: &str| Field { field: field.into(), kind: kind.into(), pairs: 3, elements: 4 };
        let differences = Differences {
            release: "2".into(),
            shadow: Some("green".into()),
            compared: 2_000,
            matched: 1_974,
            failed: 1,
            agreement: Some(Agreement { value: 0.987, low: 0.984, high: 0.989 }),
            fields: vec![field("/outputs/*/data/*", "value"), field("", "status")],
            other_fields: 5,
            labels: Some(Labels {
                kappa: 0.98,
                kappa_error: 0.01,
                pairs: vec![cell("4", "4", 1_974), cell("4", "9", 3)],
            }),
            numbers: Numbers {
                compared: 20_000,
                beyond: 15,
                by_decade: vec![19_900, 0, 0, 80, 0, 5, 0, 15, 0, 0, 0],
            },
            baseline: Some(Baseline {
                compared: 1_990,
                agreement: Agreement { value: 0.995, low: 0.99, high: 0.998 },
                beside: 1_980,
                only_shadow: 20,
                only_baseline: 4,
                both: 10,
                log10_e: 2.04,
                diffy: Some(Diffy { relative: 36.36, absolute: 0.808, reported: true }),
                fields: vec![field("/outputs/*/data/*", "value")],
            }),
            samples: vec![DifferingPair {
                time: "2026-11-28T20:00:00Z".into(),
                field: "/text".into(),
                kind: "value".into(),
                stable: "\"a\"".into(),
                shadow: "\"b\"".into(),
            }],
            ..Differences::default()
        };
        let shown = write(&lines(&differences, Some(80)), false);
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "2: green agrees with stable in 1974 of 2000 pairs",
                "agreement 98.7 % [98.4, 98.9]",
                "kappa 0.980, standard error 0.010",
                "no answer 1",
                "numbers 20000, beyond the tolerance 15",
                "of them 99 % are equal, 99.9 % differ by less than 1e-6",
                "stable agrees with itself 99.5 % [99.0, 99.8]",
                "three answers 1980; only green differs 20, only stable's copy 4, both 10",
                "evidence that green differs more often than that copy 10^2.0",
                "by diffy's rule reported: relative 36.4 %, absolute 0.81 %",
                "",
                "FIELD              DIFFERS IN  PAIRS  ELEMENTS",
                "/outputs/*/data/*  value       3      4",
                "(answer)           status      3      4",
                "and 5 differences at fields that are not told apart",
                "",
                "FIELD, STABLE AND ITS COPY  DIFFERS IN  PAIRS  ELEMENTS",
                "/outputs/*/data/*           value       3      4",
                "",
                "STABLE  SHADOW  PAIRS  OF",
                "4       9       3      1977",
                "",
                "TIME                  FIELD  STABLE  SHADOW",
                "2026-11-28T20:00:00Z  /text  \"a\"     \"b\"",
            ]
        );
        let nothing = write(&super::lines(&Differences::default(), None), false);
        assert_eq!(nothing.trim_end(), "nothing was compared yet");
    }

    #[test]
    fn a_table_that_is_cut_says_how_many_rows_are_missing() {
        let field = |at| Field { field: format!("/field-{at}"), kind: "value".into(), pairs: 3, elements: 4 };
        let shown = |rows| {
            let differences = Differences {
                shadow: Some("green".into()),
                fields: (0..rows).map(field).collect(),
                ..Differences::default()
            };
            write(&lines(&differences, Some(80)), false)
        };
        assert!(!shown(20).contains("--json"), "{}", shown(20));
        assert!(shown(23).ends_with("\n3 more rows: --json\n"), "{}", shown(23));
    }

    /// `docs/shadow.md` shows what the command prints of these pairs.
    #[test]
    fn the_documents_example_is_what_is_printed_of_such_pairs() {
        let answer = |label: u64| {
            let probabilities = ["0.125"; 11].join(",");
            let body = format!(r#"{{"outputs":[{{"data":[{label}]}},{{"data":[{probabilities}]}}]}}"#);
            Answer {
                status: 200,
                content_type: b"application/json".to_vec(),
                body: body.into_bytes(),
                ..Answer::default()
            }
        };
        let label = Some(Pointer::new("/outputs/0/data/0").unwrap());
        let settings = Settings { label, ..Settings::default() };
        let mut totals = Totals::default();
        let mut pair =
            |stable, shadow| totals.count(Some(&compare(&settings, &answer(stable), &answer(shadow))));
        (0..1_974).for_each(|number| pair(number % 10, number % 10));
        (0..19).for_each(|_| pair(4, 9));
        (0..7).for_each(|_| pair(7, 1));
        let known = differences::Differences { shadow: "green".into(), totals, ..Default::default() };
        let shown = write(&lines(&Differences::new("2026-11-20.2", Some(known)), Some(80)), false);
        let document = include_str!("../../../../docs/shadow.md");
        assert!(document.contains(&format!("```\n{shown}```\n")), "docs/shadow.md does not have:\n{shown}");
    }
}
