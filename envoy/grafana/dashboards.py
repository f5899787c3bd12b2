#!/usr/bin/env python3
"""Writes the dashboards: `make dashboards`. The JSON files beside this one are made from it, and from nothing else.

They use the series that ../prometheus/rules.yaml records, and the filter's own. Imported by hand, they ask for a data source.
"""
import pathlib
import sys

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery, Dashboard, DatasourceVariable, QueryVariable, Row, ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef, GridPos, Threshold, ThresholdsMode, VariableRefresh, DashboardCursorSync,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = pathlib.Path(__file__).parent
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OF = 'rollout=~"$rollout"'
HEIGHT = 7


def query(expression, legend="", instant=False):
    """One expression; at one point in time for tables."""
    target = Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)
    return target.instant().format(PromQueryFormat.TABLE) if instant else target.range()


def targets(queries):
    return [query(expression, legend).ref_id(letter) for letter, (expression, legend) in zip("ABCDEF", queries)]


def chart(title, unit, queries, description="", least=0.0):
    panel = Timeseries().title(title).unit(unit).description(description).datasource(SOURCE).min(least)
    panel = panel.legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
    for target in targets(queries):
        panel = panel.with_target(target)
    return panel


def figure(title, unit, queries, description="", red_from=None):
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    panel = Stat().title(title).unit(unit).description(description).datasource(SOURCE)
    panel = panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for target in targets(queries):
        panel = panel.with_target(target)
    return panel


def table(title, expression, description=""):
    return Table().title(title).description(description).datasource(SOURCE).with_target(query(expression, instant=True).ref_id("A"))


def rate(series, by, labels=""):
    """How often a second something is counted."""
    return f"sum by ({by}) (rate({series}{{{OF}{labels}}}[$__rate_interval]))"


def sides():
    by = "{{rollout}} {{version}}"
    return "Stable and candidate", [
        chart("Success rate", "percentunit", [(f"1 - changeover:error:ratio{{{OF}}}", by)],
              "Of the requests that ended with an answer or an error, over five minutes.", least=None),
        chart("Latency", "s", [(f"changeover:latency:{q}_seconds{{{OF}}}", f"{by} {q}") for q in ("p50", "p95", "p99")],
              "From a request's headers to its end."),
        chart("Traffic", "reqps", [(f"changeover:requests:rate{{{OF}}}", by)]),
        chart("Given up before any answer", "percentunit", [(f"changeover:unanswered:ratio{{{OF}}}", by)],
              "Requests that their clients left, over five minutes: the success rate has none of them."),
    ]


def release():
    return "The release", [
        table("Releases", f"changeover:release:info{{{OF}}}", "The release and the attempt that each rollout is in."),
        chart("Phase", "short", [(f"group by (rollout, phase) (changeover_phase{{{OF}}} > 0)", "{{rollout}} {{phase}}")]),
        chart("Step", "short", [(f"max by (rollout) (changeover_step{{{OF}}})", "{{rollout}}")],
              "The position of the step that waits, from 0."),
        chart("Share, wanted and got", "percentunit", [
            (f"changeover:weight:ratio{{{OF}}}", "{{rollout}} {{version}} wanted"),
            (f"changeover:traffic:ratio{{{OF}}}", "{{rollout}} {{version}} got"),
        ], "Sticky users get there more slowly than requests that are drawn one by one."),
        chart("Evidence against the candidate", "short", [
            (f"changeover:evidence:log10{{{OF}}}", "{{rollout}} {{metric}}"),
            (f"changeover:evidence_threshold:log10{{{OF}}}", "{{rollout}} threshold"),
        ], "Powers of ten; `all` decides: at the threshold the candidate is rolled back."),
        chart("Alarms", "short", [(f"max by (rollout, version, name) (changeover_alarm{{{OF}}})", "{{rollout}} {{version}} {{name}}")], "1 while it is raised."),
        chart("Actions", "short", [(f"sum by (rollout, action, actor) (changeover_actions_total{{{OF}}})", "{{rollout}} {{action}} by {{actor}}")],
              "What has happened since Envoy's start."),
    ]


def payload():
    by, field = "{{rollout}} {{version}}", "{{rollout}} {{version}} {{field}}"
    both, fields = "rollout, version", "rollout, version, field"

    def ratio(part, whole, by):
        return f"{rate(part, by)} / {rate(whole, by)}"

    def mean(name, by):
        return ratio(f"changeover_{name}_total", f"changeover_{name}_count", by)

    def quantiles(name, unit):
        return [
            (f"histogram_quantile({quantile}, {rate(f'changeover_{name}_bucket', f'{both}, le')}) / {unit}", f"{by} {shown}")
            for quantile, shown in ((0.5, "p50"), (0.95, "p95"))
        ]

    def part_of_answers(name):
        return ratio(f"changeover_output_{name}_total", "changeover_output_answers_total", both)

    return "Inputs and outputs", [
        chart("Missing values", "percentunit", [(ratio("changeover_input_missing_total", "changeover_input_values_total", fields), field)],
              "Of the values at each pointer of `payload.input`."),
        chart("Unseen categories", "percentunit", [(ratio("changeover_input_unseen_total", "changeover_input_values_total", fields), field)]),
        chart("Numbers in inputs", "short", [
            (f"({rate('changeover_input_sum_thousandths_total', fields)} - {rate('changeover_input_negative_sum_thousandths_total', fields)})"
             f" / 1000 / {rate('changeover_input_numbers_total', fields)}", field),
        ], "Mean at each pointer of `payload.input.fields`.", least=None),
        chart("Length of inputs", "short", [(mean("input_length", both), by)], "Mean."),
        chart("Length of answers", "short", [(mean("output_length", both), by)], "Mean."),
        chart("Tokens", "short", [(mean("input_tokens", both), f"{by} prompt"), (mean("output_tokens", both), f"{by} answer")],
              "Mean, as the server counts them."),
        chart("Null answers", "percentunit", [(part_of_answers("null"), by)]),
        chart("Errors, truncations and refusals in answers", "percentunit", [
            (part_of_answers("error_objects"), f"{by} errors"),
            (part_of_answers("truncated"), f"{by} truncated"),
            (part_of_answers("refusals"), f"{by} refused"),
        ], "Answers with a good status that are an error, end at a limit of tokens, or refuse."),
        chart("Ends of answers", "reqps", [(rate("changeover_output_choices_total", "rollout, version, result"), f"{by} {{{{result}}}}")],
              "Choices by finish reason."),
        chart("Time to the first token", "s", quantiles("output_first_token_milliseconds", 1000), "From the request's end, of streams."),
        chart("Time for each further token", "s", quantiles("output_per_token_microseconds", 1000000)),
        chart("Answers by label", "reqps", [(rate("changeover_output_labels_total", "rollout, version, label"), f"{by} {{{{label}}}}")]),
        chart("Value of answers", "percentunit", [(f"{mean('output_value_thousandths', both)} / 1000", by)],
              "Mean: 0 % is the lower end of `payload.output.range`, 100 % the upper one."),
        chart("Confidence", "percentunit", [(f"{mean('output_confidence_thousandths', both)} / 1000", by)], "Mean."),
        chart("Stable's drift", "short", [(f"changeover:drift:times_noise{{{OF}}}", "{{rollout}} {{metric}} {{window}}")],
              "Above 1 a metric has moved from its reference by more than chance. docs/drift.md says how much of that matters."),
        chart("Bodies by result", "reqps", [(rate("changeover_payload_total", "rollout, version, kind, result"), f"{by} {{{{kind}}}} {{{{result}}}}")],
              "Whether they could be read."),
    ]


def shadow():
    by = "{{rollout}} {{version}}"
    return "Shadow", [
        chart("Agreement with stable", "percentunit", [
            (f"changeover:agreement:ratio{{{OF}}}", by),
            (f"changeover:agreement_low:ratio{{{OF}}}", f"{by} at least"),
            (f"changeover:agreement_high:ratio{{{OF}}}", f"{by} at most"),
        ], "The share of compared pairs that agree, and its interval: of several Envoys the average, and an interval with all of theirs in it.", least=None),
        chart("Copies by result", "reqps", [(rate("changeover_mirror_requests_total", "rollout, version, result"), f"{by} {{{{result}}}}")]),
        chart("Differences by field", "reqps", [(rate("changeover_mirror_fields_total", "rollout, version, field, kind"), f"{by} {{{{field}}}} {{{{kind}}}}")]),
        table("Labels of stable and of the shadow", f"sum by (rollout, version, label, shadow) (changeover_mirror_labels_total{{{OF}}})",
              "Pairs since Envoy's start, where `compare.label` is set: the confusion matrix."),
    ]


def people():
    """The ladder of automation, and what users do afterwards."""
    def gauge(name):
        return f"max by (rollout) (changeover_automation_{name}{{{OF}}})"

    def decided(quantile):
        return f"histogram_quantile({quantile}, sum by (rollout, le) (rate(changeover_decision_seconds_bucket{{{OF}}}[$__rate_interval])))"

    return "People and users", [
        chart("Degree of automation", "short", [(gauge("degree"), "{{rollout}}")], "0 human, 1 shadow, 2 assist, 3 partial, 4 full."),
        chart("What the model answers alone", "percentunit", [
            (f"{gauge('coverage')} / 10000", "{{rollout}} part of the tasks"),
            (f"{gauge('threshold')} / 10000", "{{rollout}} from confidence"),
        ], "A confidence over 100 %: nothing.", least=None),
        chart("Agreement of people and model", "percentunit", [(f"{gauge('agreement')} / 10000", "{{rollout}}")],
              "Of tasks whose people had not seen the model's answer.", least=None),
        chart("Tasks", "reqps", [(rate("changeover_tasks_total", "rollout, route, reason"), "{{rollout}} {{route}} {{reason}}")],
              "Who decides, and why."),
        chart("Decisions by result", "reqps", [(rate("changeover_decisions_total", "rollout, result, shown"), "{{rollout}} {{result}} shown {{shown}}")]),
        chart("From task to decision", "s", [(decided(0.5), "{{rollout}} p50"), (decided(0.95), "{{rollout}} p95")]),
        chart("What users do afterwards", "reqps", [
            (rate("changeover_feedback_total", "rollout, version, name, result"), "{{rollout}} {{version}} {{name}} {{result}}"),
        ], "Events of `feedback` by the version that answered."),
    ]


def health():
    return "The filter itself", [
        table("Versions", "count by (build_version, commit) (changeover_info)"),
        figure("Workers whose filter has failed", "short", [("count(changeover_config_hash == 0) or 0 * count(changeover_config_hash)", "")],
               "Their requests go to stable until the next push that changes the configuration.", red_from=1.0),
        chart("Configurations in use", "short", [
            ('count by (instance) (count_values without (worker) ("configuration", changeover_config_hash > 0))', "{{instance}}"),
        ], "More than one for longer than a second: a worker has not followed a push."),
        chart("Dropped at a limit", "short", [("sum by (what) (changeover_dropped_total)", "{{what}}")], "docs/metrics.md lists the limits."),
        chart("Notifications", "short", [("sum by (name, result) (changeover_notifications_total)", "{{name}} {{result}}")]),
        chart("Store", "s", [("max by (instance) (changeover_store_age_seconds)", "{{instance}}")], "Seconds since it last answered."),
        chart("Members of the fleet", "short", [("min(changeover_fleet_members)", "members"), ("max(changeover_fleet_problems)", "problems")],
              "Whose counts are used, and what `changeover fleet` names."),
    ]


def dashboard():
    rollouts = QueryVariable("rollout").label("Rollout").datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    rollouts = rollouts.query("label_values(changeover_weight, rollout)").multi(True).include_all(True).all_value(".+")
    actions = AnnotationQuery().name("Actions").datasource(SOURCE).enable(True).icon_color("purple")
    actions = actions.expr(f"changeover:actions:last_minute{{{OF}}}")
    return actions, rollouts


def build():
    actions, rollouts = dashboard()
    board = (
        Dashboard("Changeover").uid("changeover").tags(["changeover"]).editable().tooltip(DashboardCursorSync.CROSSHAIR)
        .description("Releases of models in Envoy: made by envoy/grafana/dashboards.py").refresh("10s").time("now-1h", "now").timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus")).with_variable(rollouts).annotation(actions)
    )
    top, number = 0, 1
    for title, panels in (sides(), release(), payload(), shadow(), people(), health()):
        board = board.with_row(Row(title).id(number).grid_pos(GridPos(h=1, w=24, x=0, y=top)))
        top, number = top + 1, number + 1
        for at, panel in enumerate(panels):
            place = GridPos(h=HEIGHT, w=8, x=8 * (at % 3), y=top + HEIGHT * (at // 3))
            board = board.with_panel(panel.id(number).grid_pos(place))
            number += 1
        top += HEIGHT * -(-len(panels) // 3)
    return board.build()


def text():
    return JSONEncoder(sort_keys=True, indent=2).encode(build()) + "\n"


def main():
    file = FOLDER / "changeover.json"
    if sys.argv[1:] == ["--check"]:
        if file.read_text() != text():
            sys.exit(f"{file} is old: run `make dashboards`")
    else:
        file.write_text(text())


if __name__ == "__main__":
    main()
