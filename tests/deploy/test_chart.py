"""The chart without a cluster: lint, schema, rendering, meaning, and the real server from the rendered configuration."""

import json

import pytest
import yaml

from conftest import BIN, CHART, KUBERNETES, Server, helm_template, load, render, run, tool

VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
IDS = [v.stem for v in VALUES]


def of_kind(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def container(objects):
    return of_kind(objects, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("values", VALUES, ids=IDS)
def test_lints(values):
    run(tool("helm"), "lint", "--strict", CHART, "-f", values)


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", VALUES, ids=IDS)
def test_every_object_fits_the_kubernetes_schema(values, kubernetes, tmp_path):
    rendered = tmp_path / "rendered.yaml"
    native = [o for o in render(values, kubernetes) if "monitoring.coreos.com" not in o["apiVersion"]]
    rendered.write_text(yaml.safe_dump_all(native))
    run(tool("kubernetes-validate"), "-k", kubernetes, "--strict", rendered)


@pytest.mark.parametrize("settings,sentence", [
    ([], "set tls.existingSecret"),
    (["insecure=true", "tls.existingSecret=x"], "contradict"),
    (["insecure=true", "terminationGracePeriodSeconds=20"], "must exceed"),
    (["insecure=true", "nonsense=1"], "nonsense"),
    (["insecure=true", "service.grpcPort=70000"], "grpcPort"),
    (["insecure=true", "persistence.size=ten"], "size"),
    (["insecure=maybe"], "insecure"),
])
def test_refuses_contradictory_and_malformed_values(settings, sentence):
    arguments = [a for s in settings for a in ("--set", s)]
    done = helm_template(*arguments, check=False)
    assert done.returncode != 0
    assert sentence in done.stderr


@pytest.mark.parametrize("values", VALUES, ids=IDS)
def test_services_select_the_pods_and_name_their_ports(values):
    objects = render(values)
    pod = of_kind(objects, "StatefulSet")[0]["spec"]["template"]
    names = {p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]}
    services = of_kind(objects, "Service")
    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in names


@pytest.mark.parametrize("values", VALUES, ids=IDS)
def test_probes_hit_the_http_port_that_the_configuration_opens(values):
    objects = render(values)
    config = yaml.safe_load(of_kind(objects, "ConfigMap")[0]["data"]["stepbackd.yaml"])
    stepbackd = container(objects)
    ports = {p["name"]: p["containerPort"] for p in stepbackd["ports"]}
    assert config["server"]["http_listen"].endswith(f":{ports['http']}")
    assert config["server"]["listen"].endswith(f":{ports['grpc']}")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert stepbackd[probe]["httpGet"]["port"] == "http"


@pytest.mark.parametrize("values", VALUES, ids=IDS)
def test_the_pod_has_time_to_drain_and_no_privileges(values):
    pod = of_kind(render(values), "StatefulSet")[0]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 30 + 5
    assert pod["securityContext"]["runAsNonRoot"] is True
    context = pod["containers"][0]["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"]["drop"] == ["ALL"]


def test_a_secret_is_never_in_the_config_map():
    text = yaml.safe_dump_all(of_kind(render(CHART / "ci" / "tls-values.yaml"), "ConfigMap"))
    assert "BEGIN" not in text and "/etc/stepback-tls/tls.key" in text


def test_monitoring_objects_carry_the_labels_asked_for():
    objects = render(CHART / "ci" / "monitoring-values.yaml")
    monitor = of_kind(objects, "ServiceMonitor")[0]
    assert monitor["metadata"]["labels"]["release"] == "monitoring"
    ports = {p["name"] for s in of_kind(objects, "Service") for p in s["spec"]["ports"]}
    assert monitor["spec"]["endpoints"][0]["port"] in ports
    assert of_kind(objects, "PrometheusRule")[0]["spec"]["groups"]
    dashboards = [c for c in of_kind(objects, "ConfigMap") if c["metadata"]["labels"].get("grafana_dashboard") == "1"]
    assert json.loads(next(iter(dashboards[0]["data"].values())))["panels"]


@pytest.mark.parametrize("values", ["insecure-values.yaml", "monitoring-values.yaml"])
def test_the_server_starts_from_the_rendered_configuration_and_the_hook_test_passes(values, tmp_path):
    objects = render(CHART / "ci" / values)
    config = tmp_path / "stepbackd.yaml"
    config.write_text(of_kind(objects, "ConfigMap")[0]["data"]["stepbackd.yaml"])
    arguments = [a for a in container(objects).get("args", []) if not a.startswith("--config=")]
    run(BIN / "stepbackd", "config", "validate", f"--config={config}")
    server = Server(tmp_path, f"--config={config}", *arguments)
    try:
        hook = of_kind(objects, "Pod")[0]["spec"]["containers"][0]
        assert hook["command"] == ["stepback"]
        after = hook["args"].index("load")
        load(server, *hook["args"][after + 1:])
    finally:
        server.stop()


def test_the_chart_ships_the_same_rules_and_dashboards_as_deploy():
    deploy = CHART.parents[1]
    for ours, theirs in [("rules", deploy / "prometheus" / "rules"), ("dashboards", deploy / "grafana" / "dashboards")]:
        for copy in (CHART / ours).iterdir():
            assert copy.read_text() == (theirs / copy.name).read_text(), copy.name
