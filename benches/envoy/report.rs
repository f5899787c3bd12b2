//! What is printed: the figures, what they are beside native Envoy's, and the targets.

use super::bodies::{Bodies, VARIANTS};
use super::compare::{self, Compared};
use super::fleet::{Cost, Obeyed};
use super::people;
use super::push::{Judged, Push};
use super::round::Sample;
use super::startup::Startup;
use super::stats::{Estimate, Figures};
use super::ticks::Ticks;
use super::variants::Variant;

/// A way to look at a sample.
type Figure = fn(&Sample) -> f64;

/// A share of waiting that idle machines do not show.
const BUSY: f64 = 0.1;

const FIGURES: [(&str, usize, Figure); 4] = [
    ("requests/s", 0, |sample| sample.requests_per_second),
    ("CPU/request, µs", 1, |sample| sample.cpu_per_request),
    ("p50, ms", 3, |sample| sample.p50),
    ("p99, ms", 2, |sample| sample.p99),
];

/// The figures of all variants, with their intervals.
pub(crate) fn table(variants: &[Variant], samples: &[Vec<Sample>]) {
    let figures = FIGURES.map(|(_, _, figure)| Figures::of(samples, figure));
    let native = at(variants, &Variant::Native);
    println!("\n{:<32}{}", "", FIGURES.map(|(name, ..)| format!("{name:<26}")).concat());
    for (variant, name) in variants.iter().map(Variant::name).enumerate() {
        let cells = figures
            .iter()
            .zip(FIGURES)
            .map(|(figures, (_, digits, _))| format!("{:<26}", show(&figures.figure(variant), digits)));
        println!("{name:<32}{}", cells.collect::<String>());
    }
    println!("\nas multiples of (a)");
    for (variant, name) in variants.iter().map(Variant::name).enumerate() {
        let cells = figures.iter().map(|figures| format!("{:<26}", show(&figures.ratio(variant, native), 3)));
        println!("{name:<32}{}", cells.collect::<String>());
    }
    let waited: f64 = samples.iter().flatten().map(|sample| sample.waited).sum();
    let waited = waited / f64::from(u32::try_from(samples.len() * variants.len()).expect("few"));
    println!("\nEnvoy waited for its CPU, which others wanted too, {:.0} % of the time.", waited * 100.0);
    if waited > BUSY {
        println!(
            "That is much: requests/s, p50 and p99 tell of a busy machine, CPU per request is dearer than alone."
        );
    }
}

/// What was to be reached, and whether it was.
pub(crate) fn targets(variants: &[Variant], samples: &[Vec<Sample>]) {
    let place = |variant| at(variants, &variant);
    let (native, idle, lua) = (place(Variant::Native), place(Variant::Idle), place(Variant::Lua));
    let (changeover, thousand) = (place(Variant::Changeover), place(Variant::Thousand));
    let cpu = Figures::of(samples, |sample| sample.cpu_per_request);
    let requests = Figures::of(samples, |sample| sample.requests_per_second);

    println!("\nTargets");
    let added = cpu.added(changeover, idle, native);
    target("CPU that (d) adds to (a), beside what (b) adds: at most 1.8", &added, |value| value <= 1.8);
    narrow(&added, 0.6);
    fact("CPU that (c) adds to (a), beside what (b) adds", &cpu.added(lua, idle, native));
    let ratio = requests.ratio(changeover, native);
    target("requests/s of (d) beside (a): at least 0.81", &ratio, |value| value >= 0.81);
    let added = cpu.added(thousand, changeover, native);
    target("CPU that (e) adds to (a), beside what (d) adds: at most 1.2", &added, |value| value <= 1.2);
    fact("CPU per request of (f) beside (d)", &cpu.ratio(place(Variant::Judged), changeover));
    fact("CPU per request of (g) beside (d)", &cpu.ratio(place(Variant::Logged), changeover));
    if let Some(baseline) = variants.iter().position(|variant| matches!(variant, Variant::Baseline(_))) {
        let ratio = cpu.ratio(changeover, baseline);
        target("CPU per request of (d) beside (i): at most 1.03", &ratio, |value| value <= 1.03);
        narrow(&ratio, 0.08);
    }
}

/// What pushes of 1,000 rollouts cost.
pub(crate) fn pushed(pushes: &[Push]) {
    let cpu = pushes.iter().map(|push| push.cpu).fold(0.0, f64::max);
    let slowest = pushes.iter().map(|push| push.slowest_answer).fold(0.0, f64::max);
    println!(
        "\n{} an answer takes at most 50 ms while 1,000 rollouts are pushed: {slowest:.1} ms in the worst of {} \
         (CPU of the worker for a push: {cpu:.1} ms)",
        mark(slowest <= 50.0),
        pushes.len()
    );
}

/// What pushes of judged rollouts do.
pub(crate) fn pushed_judged(all: &[Judged]) {
    for Judged { rollouts, pushes, slowest_before, slowest, complete } in all {
        let more = slowest - slowest_before;
        println!(
            "\n{rollouts} judged rollouts pushed under load, the worst of {pushes}\n\
             {} the slowest answer takes at most 250 ms more than without a push: {slowest:.0} ms beside {slowest_before:.0} ms\n\
             {} the API shows each of them at its step within 10 s: {complete:.1} s",
            mark(more <= 250.0),
            mark(*complete <= 10.0)
        );
    }
}

/// What a client that reads the API all the time costs requests.
pub(crate) fn polled(variants: &[Variant], samples: &[Vec<Sample>]) {
    println!();
    let pairs = [
        ("(j) beside (d)", Variant::Polled, Variant::Changeover),
        ("(k) beside (e)", Variant::ThousandPolled, Variant::Thousand),
    ];
    for (beside, polled, alone) in pairs {
        let (polled, alone) = (at(variants, &polled), at(variants, &alone));
        let figures: [(&str, Figure); 2] =
            [("CPU per request", |sample| sample.cpu_per_request), ("p99", |sample| sample.p99)];
        for (name, figure) in figures {
            let ratio = Figures::of(samples, figure).ratio(polled, alone);
            println!(
                "{} {name} of {beside}: 1 within the interval: {}",
                mark(ratio.low <= 1.0),
                show(&ratio, 3)
            );
        }
    }
}

/// Bytes of a report with a period of one second, as they were expected before it was built: 0.2 KB for one rollout, 1.3 for 10,
/// 12 for 100, 120 for 1,000. CPU was expected to be 1.1 ms.
fn expected_report(moving: u64) -> u64 {
    80 + 120 * moving
}

/// What a fleet costs its Envoys, and how soon they obey.
pub(crate) fn fleet(costs: &[Cost], obeyed: &[Obeyed]) {
    println!("\nA member of a fleet, in a second, beside the same Envoy without a store");
    println!(
        "{:<9}{:<8}{:<10}{:>9}{:>8}{:>12}{:>16}{:>18}{:>10}",
        "rollouts",
        "period",
        "",
        "CPU, ms",
        "calls",
        "bytes sent",
        "bytes received",
        "bytes of a report",
        "expected"
    );
    for cost in costs {
        println!(
            "{:<9}{:<8}{:<10}{:>9.1}{:>8.1}{:>12.0}{:>16.0}{:>18.0}{:>10}",
            cost.moving,
            cost.period,
            if cost.leads { "leads" } else { "follows" },
            cost.cpu,
            cost.calls,
            cost.sent,
            cost.received,
            cost.report,
            if cost.period == "1s" { expected_report(cost.moving).to_string() } else { String::new() }
        );
    }
    println!("\nMilliseconds from a command at one member until the others obey");
    println!("{:<10}{:>8}{:>8}{:>8}{:>20}", "members", "median", "95 %", "worst", "all, median");
    for Obeyed { members, each, last } in obeyed {
        let of = |times: &[f64], percent: usize| times[(times.len() - 1) * percent / 100];
        let [median, most, worst] = [50, 95, 100].map(|percent| of(each, percent));
        println!("{members:<10}{median:>8.0}{most:>8.0}{worst:>8.0}{:>20.0}", of(last, 50));
    }
}

/// Whether a fleet costs a request anything.
pub(crate) fn path_of_fleet(variants: &[Variant], samples: &[Vec<Sample>]) {
    let (alone, fleet) = (at(variants, &Variant::Changeover), at(variants, &Variant::Fleet));
    let cpu = Figures::of(samples, |sample| sample.cpu_per_request);
    println!();
    let ratio = cpu.ratio(fleet, alone);
    let is_one = ratio.low <= 1.0;
    println!(
        "{} CPU per request of (h) beside (d): 1 within the interval: {}",
        mark(is_one),
        show(&ratio, 3)
    );
    let requests = Figures::of(samples, |sample| sample.requests_per_second);
    fact("requests/s of (h) beside (d)", &requests.ratio(fleet, alone));
}

/// What reading payloads costs.
pub(crate) fn bodies(all: &[Bodies]) {
    // As they stand in the variants.
    let [idle, fetches, without, payload] = [0, 1, 2, 3];
    println!(
        "\nReading payloads, CPU per request in µs\n{:<24}{}",
        "",
        VARIANTS.map(|name| format!("{name:<26}")).concat()
    );
    for Bodies { kind, samples } in all {
        let cpu = Figures::of(samples, |sample| sample.cpu_per_request);
        let cells = (0..VARIANTS.len()).map(|variant| format!("{:<26}", show(&cpu.figure(variant), 1)));
        println!("{:<24}{}", kind.name, cells.collect::<String>());
    }
    println!(
        "\n{:<24}{:<26}{:<26}{:<26}first byte, with / without",
        "", "payload adds, µs", "beside fetching", "with / without"
    );
    for Bodies { kind, samples } in all {
        let cpu = Figures::of(samples, |sample| sample.cpu_per_request);
        let first = Figures::of(samples, |sample| sample.p50);
        println!(
            "{:<24}{:<26}{:<26}{:<26}{}",
            kind.name,
            show(&cpu.difference(payload, without), 1),
            show(&cpu.added_each((payload, without), (fetches, idle)), 2),
            show(&cpu.ratio(payload, without), 3),
            show(&first.ratio(payload, without), 3)
        );
    }
    for Bodies { kind, samples } in all.iter().filter(|bodies| bodies.kind.name.ends_with(" 1 KB")) {
        let cpu = Figures::of(samples, |sample| sample.cpu_per_request);
        let ratio = cpu.added_each((payload, without), (fetches, idle));
        let what = format!("{}: reading adds at most 2 times what fetching adds", kind.name);
        target(&what, &ratio, |value| value <= 2.0);
    }
}

/// What comparing costs.
pub(crate) fn compared(all: &[Compared]) {
    // As they stand in the variants.
    let [mirror, without, none_drawn, compare] = [1, 2, 3, 4];
    for Compared { size, samples, share } in all {
        println!("\nComparing a shadow's answers, documents of {size} bytes");
        println!("{:<24}{}", "", FIGURES.map(|(name, ..)| format!("{name:<26}")).concat());
        let figures = FIGURES.map(|(_, _, figure)| Figures::of(samples, figure));
        for (variant, name) in compare::VARIANTS.iter().enumerate() {
            let cells = figures.iter().zip(FIGURES);
            let cells = cells
                .map(|(figures, (_, digits, _))| format!("{:<26}", show(&figures.figure(variant), digits)));
            println!("{name:<24}{}", cells.collect::<String>());
        }
        let [requests, cpu, _, p99] = &figures;
        let ratio = requests.ratio(compare, mirror);
        target("requests/s, comparing beside Envoy's mirror: at least 0.85", &ratio, |value| value >= 0.85);
        let ratio = p99.ratio(compare, mirror);
        target("p99, comparing beside Envoy's mirror: at most 1.05", &ratio, |value| value <= 1.05);
        // What is skipped costs nothing.
        println!(
            "{} answers that were compared, of all: at least 99 %: {:.1} %",
            mark(*share >= 0.99),
            share * 100.0
        );
        let ratio = requests.ratio(none_drawn, without);
        println!(
            "{} requests/s that are not drawn for the shadow, beside no mirror: 1.00 within the interval: {}",
            mark(ratio.high >= 1.0),
            show(&ratio, 3)
        );
        let ratio = cpu.ratio(none_drawn, without);
        println!(
            "{} CPU of a request that is not drawn for the shadow, beside no mirror: 1.00 within the interval: {}",
            mark(ratio.low <= 1.0),
            show(&ratio, 3)
        );
        fact("CPU that Envoy's mirror adds to a request, µs", &cpu.difference(mirror, 0));
        let per_pair = cpu.difference(compare, without).times(1.0 / share);
        fact("CPU per compared pair, with the copy and the shadow's answer, µs", &per_pair);
    }
}

/// What a shadow that never answers adds to a request.
pub(crate) fn silent(samples: &[Vec<Sample>]) {
    let [none_drawn, all_drawn] = [0, 1];
    println!("\nA shadow that never answers gets all requests, beside one that gets none: without load");
    for (name, figure) in [("p50", (|sample| sample.p50) as Figure), ("p99", |sample| sample.p99)] {
        let figures = Figures::of(samples, figure);
        let times = [none_drawn, all_drawn].map(|variant| show(&figures.figure(variant), 3));
        let ratio = figures.ratio(all_drawn, none_drawn);
        println!(
            "{} {name}: {} ms, beside {} ms: 1.00 within the interval: {}",
            mark(ratio.low <= 1.0),
            times[all_drawn],
            times[none_drawn],
            show(&ratio, 3)
        );
    }
}

/// What people and models cost.
pub(crate) fn people(samples: &[Vec<Sample>]) {
    println!("\nPeople and models: CPU per request, µs\n{:<28}{:<26}more than", "", "all");
    let cpu = Figures::of(samples, |sample| sample.cpu_per_request);
    for (at, kind) in people::KINDS.iter().enumerate() {
        let more = kind.beside.map(|beside| {
            let added = show(&cpu.difference(at, beside), 1);
            format!("{added:<24} {}", people::KINDS[beside].name)
        });
        println!("{:<28}{:<26}{}", kind.name, show(&cpu.figure(at), 1), more.unwrap_or_default());
    }
}

/// What a model that hangs adds to a task.
pub(crate) fn hung(ratios: &[f64]) {
    let most = ratios.iter().copied().fold(0.0, f64::max);
    println!(
        "{} a task whose model hangs takes at most ask.timeout ({} ms) and what a request takes, times 1.05: times {most:.3} in the \
         worst of {}",
        mark(most <= 1.05),
        people::TIMEOUT.as_millis(),
        ratios.len()
    );
}

/// What reading costs by the clock inside the sandbox.
pub(crate) fn clock(figures: &[(String, f64)]) {
    println!("\nReading by the clock inside the sandbox, ns");
    for (what, nanoseconds) in figures {
        println!("  {what:<30}{nanoseconds:>8.2}");
    }
}

/// What starting costs.
pub(crate) fn startup(all: &[Startup]) {
    println!(
        "\nStarting: CPU until ready, resident memory\n{:<32}{:>8}{:>10}{:>14}",
        "", "workers", "CPU, s", "memory, MB"
    );
    for startup in all {
        let Startup { variant, workers, cpu, megabytes } = startup;
        println!("{variant:<32}{workers:>8}{cpu:>10.2}{megabytes:>14.0}");
    }
}

/// What ticks cost.
pub(crate) fn ticks(build: &str, all: &[Ticks]) {
    println!("\nTicks of {build}, ms of each second");
    println!(
        "{:<10}{:>14}{:>10}{:>12}{:>26}{:>26}",
        "rollouts",
        "with requests",
        "leader",
        "a worker",
        "longest of leader/worker",
        "the same at start, ms"
    );
    for ticks in all {
        println!(
            "{:<10}{:>14}{:>10.1}{:>12.1}{:>26}{:>26}",
            ticks.rollouts,
            ticks.moving,
            ticks.leader,
            ticks.worker,
            format!("{:.1} / {:.1}", ticks.longest.leader, ticks.longest.worker),
            format!("{:.1} / {:.1}", ticks.longest_at_start.leader, ticks.longest_at_start.worker)
        );
    }
}

/// A target is reached when the middle of the interval is.
fn target(what: &str, estimate: &Estimate, reached: impl Fn(f64) -> bool) {
    println!("{} {what}: {}", mark(reached(estimate.middle())), show(estimate, 2));
}

fn fact(what: &str, estimate: &Estimate) {
    println!("  {what}: {}", show(estimate, 2));
}

fn narrow(estimate: &Estimate, width: f64) {
    if estimate.width() > width {
        println!(
            "    the interval is {:.2} wide, over {width}: more ROUNDS, or a quieter machine",
            estimate.width()
        );
    }
}

fn mark(reached: bool) -> &'static str {
    if reached { "✓" } else { "✗" }
}

fn show(estimate: &Estimate, digits: usize) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
}

fn at(variants: &[Variant], variant: &Variant) -> usize {
    variants.iter().position(|known| known == variant).expect("a variant that was measured")
}
