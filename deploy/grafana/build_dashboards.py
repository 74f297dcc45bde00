"""Writes deploy/grafana/dashboards/*.json from the panel tables below; `--check` fails when a file differs.

M selects by the dashboard's job, instance and model; F by job and instance; R is the rate interval.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
M = 'job=~"$job",instance=~"$instance",model=~"$model"'
F = 'job=~"$job",instance=~"$instance"'
R = "[$__rate_interval]"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# (title, type, unit, description, [(query, legend), ...])
TRAINING = [
    ("Train loss by worker", "timeseries", "none", "Loss that each worker reported with its last push or heartbeat.",
     [(f"max by (model,worker) (stepback_worker_train_loss{{{M}}})", "{{model}} {{worker}}")]),
    ("Evaluations of the slow weights", "timeseries", "none", "Values sent with ReportMetrics.",
     [(f"max by (model,name) (stepback_reported_value{{{M}}})", "{{model}} {{name}}")]),
    ("Version", "stat", "none", "Counter of the published version.",
     [(f"max by (model) (stepback_model_version{{{M}}})", "{{model}}")]),
    ("Inner steps and outer syncs", "timeseries", "ops", "Commits per second; an outer sync ends a round or a sync period.",
     [(f"sum by (model) (rate(stepback_inner_steps_total{{{M}}}{R}))", "inner {{model}}"),
      (f"sum by (model) (rate(stepback_outer_syncs_total{{{M}}}{R}))", "outer {{model}}")]),
    ("Norms", "timeseries", "none", "L2 norm of the last update, and how far fast weights stood from slow ones at the last sync.",
     [(f"max by (model,kind) (stepback_update_norm{{{M}}})", "update {{kind}} {{model}}"),
      (f"max by (model) (stepback_slow_fast_distance{{{M}}})", "slow-fast {{model}}")]),
    ("Gradient norm by worker", "timeseries", "none", "As reported by the workers.",
     [(f"max by (model,worker) (stepback_worker_gradient_norm{{{M}}})", "{{model}} {{worker}}")]),
    ("Wait share by worker", "timeseries", "percentunit", "Seconds waiting for the round over all seconds of the last round.",
     [(f"max by (model,worker) (stepback_worker_wait_seconds{{{M}}}) / (max by (model,worker) (stepback_worker_wait_seconds{{{M}}})"
       f" + max by (model,worker) (stepback_worker_compute_seconds{{{M}}}) > 0)", "{{model}} {{worker}}")]),
    ("The round waits for", "timeseries", "none", "1 while the open round waits for this worker.",
     [(f"max by (model,worker) (stepback_round_waiting_for{{{M}}})", "{{model}} {{worker}}")]),
    ("Staleness p50, p90", "timeseries", "none", "Versions between a push's base and the version that it met.",
     [(f"histogram_quantile(0.5, sum by (le,model) (rate(stepback_staleness_steps_bucket{{{M}}}{R})))", "p50 {{model}}"),
      (f"histogram_quantile(0.9, sum by (le,model) (rate(stepback_staleness_steps_bucket{{{M}}}{R})))", "p90 {{model}}")]),
    ("Pushes by outcome", "timeseries", "reqps", "Duplicates are harmless; stale and rejected pushes had no effect.",
     [(f"sum by (outcome) (rate(stepback_pushes_total{{{M}}}{R}))", "{{outcome}}")]),
    ("Goodput", "timeseries", "binBps", "Payload bytes per second, in and out.",
     [(f"sum(rate(stepback_received_bytes_total{{{M}}}{R}))", "in"),
      (f"sum(rate(stepback_sent_bytes_total{{{M}}}{R}))", "out")]),
    ("Push time p50, p99", "timeseries", "s", "From the header to the answer.",
     [(f'histogram_quantile(0.5, sum by (le) (rate(stepback_push_duration_seconds_bucket{{{M},stage="total"}}{R})))', "p50"),
      (f'histogram_quantile(0.99, sum by (le) (rate(stepback_push_duration_seconds_bucket{{{M},stage="total"}}{R})))', "p99")]),
    ("Sessions", "timeseries", "none", "Workers with a live lease.",
     [(f"sum by (model,state) (stepback_sessions{{{M}}})", "{{model}} {{state}}")]),
    ("Memory", "timeseries", "bytes", "Model state by kind, and the whole process.",
     [(f"sum by (kind) (stepback_model_state_bytes{{{M}}})", "{{kind}}"),
      (f"sum(process_resident_memory_bytes{{{F}}})", "process")]),
    ("Snapshot age", "stat", "s", "Seconds since the last snapshot on disk.",
     [(f"time() - max by (model) (stepback_checkpoint_last_success_timestamp_seconds{{{M}}} > 0)", "{{model}}")]),
    ("Log sync p50, p99", "timeseries", "s", "Durability push: one write to the log and its sync; no push is acknowledged sooner.",
     [(f"histogram_quantile(0.5, sum by (le) (rate(stepback_wal_fsync_duration_seconds_bucket{{{M}}}{R})))", "p50"),
      (f"histogram_quantile(0.99, sum by (le) (rate(stepback_wal_fsync_duration_seconds_bucket{{{M}}}{R})))", "p99")]),
    ("Written to the log", "timeseries", "binBps", "Durability push: payload bytes per second.",
     [(f"sum by (model) (rate(stepback_wal_bytes_total{{{M}}}{R}))", "{{model}}")]),
    ("Storage failures", "timeseries", "ops", "Snapshots and writes to the log that failed; records that the event log dropped.",
     [(f"sum by (model,reason) (rate(stepback_checkpoint_failures_total{{{M}}}{R}))", "snapshot {{reason}} {{model}}"),
      (f"sum by (model) (rate(stepback_wal_failures_total{{{M}}}{R}))", "log {{model}}"),
      (f"sum by (model) (rate(stepback_events_dropped_total{{{M}}}{R}))", "events {{model}}")]),
]

DASHBOARDS = {"stepback-training": ("Stepback / Is training healthy?", TRAINING)}


def panel(number, row):
    title, kind, unit, description, queries = row
    return {
        "id": number,
        "title": title,
        "description": description,
        "type": kind,
        "datasource": DATASOURCE,
        "gridPos": {"h": 8, "w": 8, "x": 8 * ((number - 1) % 3), "y": 8 * ((number - 1) // 3)},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
            for i, (query, legend) in enumerate(queries)
        ],
    }


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": query, "refresh": 2,
            "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}


def dashboard(uid, title, rows):
    return {
        "uid": uid,
        "title": title,
        "tags": ["stepback"],
        "editable": False,
        "schemaVersion": 36,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("job", "Job", "label_values(stepback_build_info, job)"),
            variable("instance", "Instance", 'label_values(stepback_build_info{job=~"$job"}, instance)'),
            variable("model", "Model", 'label_values(stepback_model_info{job=~"$job",instance=~"$instance"}, model)'),
        ]},
        "panels": [panel(i, row) for i, row in enumerate(rows, 1)],
    }


def main():
    stale = []
    for uid, (title, rows) in DASHBOARDS.items():
        path = FOLDER / f"{uid}.json"
        text = json.dumps(dashboard(uid, title, rows), indent=2) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        print(f"run {pathlib.Path(__file__).name}: out of date: {', '.join(stale)}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
