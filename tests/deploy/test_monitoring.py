"""Alerts and dashboards against a real Prometheus that scrapes a loaded server."""

import json
import math
import pathlib
import re
import socket
import subprocess
import sys
import urllib.parse

import pytest
import yaml

from conftest import BIN, ROOT, get, load, run, tool, wait_until

RULES = ROOT / "deploy" / "prometheus" / "rules"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
METRIC = re.compile(r"\b((?:stepback|grpc|process)_[a-z0-9_]+?)(?:_bucket|_sum|_count)?\b(?=[{\[)\s]|$)")


def panels():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            yield path.stem, panel


def queries():
    for dashboard, panel in panels():
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{dashboard}/{panel['title']}/{target['refId']}")


def test_rules_are_valid_and_fire_when_they_should():
    run(tool("promtool"), "check", "rules", RULES / "stepback.rules.yml")
    run(tool("promtool"), "check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml")
    run(tool("promtool"), "test", "rules", RULES / "stepback.test.yml")


def test_every_alert_has_a_runbook_and_both_cases():
    rules = yaml.safe_load((RULES / "stepback.rules.yml").read_text())
    tested = (RULES / "stepback.test.yml").read_text()
    runbooks = (ROOT / "docs" / "runbooks.md").read_text()
    alerts = [r for g in rules["groups"] for r in g["rules"] if "alert" in r]
    assert len(alerts) >= 5
    for alert in alerts:
        assert f"alertname: {alert['alert']}" in tested
        assert f"## {alert['alert']}\n" in runbooks
        assert alert["annotations"]["runbook_url"].endswith("#" + alert["alert"].lower())


def test_dashboards_are_what_their_table_says():
    run(sys.executable, ROOT / "deploy" / "grafana" / "build_dashboards.py", "--check")


def test_panels_have_titles_descriptions_units_and_templated_sources():
    count = 0
    for _, panel in panels():
        count += 1
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert "$job" in target["expr"] and "$instance" in target["expr"]
            for rate in re.findall(r"rate\(([^)]*)\)", target["expr"]):
                assert "$__rate_interval" in rate
    assert count >= 12


@pytest.fixture(scope="module")
def exposed(server):
    return set(re.findall(r"^# TYPE (\S+) ", server.metrics(), re.M))


def test_metrics_are_well_formed(server):
    run(tool("promtool"), "check", "metrics", input=server.metrics())


def test_every_metric_named_in_panels_and_alerts_is_exported(exposed):
    text = "\n".join(t["expr"] for _, p in panels() for t in p["targets"]) + (RULES / "stepback.rules.yml").read_text()
    named = {m for m in METRIC.findall(re.sub(r"stepback:[\w:]+", "", text)) if not m.startswith("stepback_bogus")}
    assert named and named <= exposed, named - exposed


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    """Debian's Prometheus, scraping the server while models of both modes are under load and stay open."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = {"global": {"scrape_interval": "1s"},
              "scrape_configs": [{"job_name": "stepback", "static_configs": [{"targets": [server.http]}]}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        [tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=open(folder / "stderr", "w"))
    worker = subprocess.Popen(
        ["/usr/bin/python3", str(pathlib.Path(__file__).parent / "training_load.py"), server.address],
        env={"PYTHONPATH": str(BIN.parent / "python"), "PATH": "/usr/bin:/bin"}, stdin=subprocess.PIPE)
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: scraped(base, server), "Prometheus has scraped the load", 60)
        yield base
    finally:
        worker.communicate(b"stop\n", timeout=30)
        process.terminate()
        process.wait(30)


def query(base, expression):
    answer = json.loads(get(f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def scraped(base, server):
    try:
        return query(base, "min(sum(rate(stepback_outer_syncs_total[10s])) > 0) and min(stepback_worker_train_loss)"
                           " and sum(rate(stepback_inner_steps_total[10s])) > 0"
                           " and sum(rate(stepback_wal_bytes_total[10s])) > 0"
                           " and max(stepback_checkpoint_last_success_timestamp_seconds) > 0")
    except OSError:
        return None


def substituted(expression):
    for name, value in {"$job": ".*", "$instance": ".*", "$model": ".*", "$__rate_interval": "10s"}.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.parametrize("expression", queries())
def test_every_panel_query_has_an_answer(prometheus, expression):
    result = query(prometheus, substituted(expression))
    assert result, "no series"
    assert any(math.isfinite(float(series["value"][1])) for series in result)


def test_no_alert_expression_fails_on_the_live_server(prometheus):
    rules = yaml.safe_load((RULES / "stepback.rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        query(prometheus, rule["expr"])


def test_the_load_tool_reports_figures_and_its_exit_code_tells_errors(server):
    done = load(server, "step", "--model-size=64K", "--concurrency=2", "--warmup=0s", "--duration=1s", "-o", "json")
    report = json.loads(done.stdout)
    assert report["schema_version"] >= 1
    refused = run(BIN / "stepback", "--address", "127.0.0.1:1", "load", "push", "--duration=1s", check=False)
    assert refused.returncode == 1
