"""What goes wrong in practice, and the rule that has to see it: (rule, what puts the fault in). A rule that finds nothing any
more is itself found."""

import re

from component_rules import certificate_fits, operator_finds_what_it_reads, redis_is_kept_in, scales_by_what_it_can, swapped_config_arrives
from rules import (
    METRICS_SERVICE, config_is_accepted, disruption_is_bounded, environment_is_larders, has_no_token, image_is_pinned,
    journal_fits_its_volume, lives_in_one_namespace, memory_is_bounded, network_is_closed, ports_match, probes_ask_the_right_service,
    replicas_share_a_tier, replicas_spread, runs_without_privileges, second_tier_fits_its_volume, secrets_stay_secret,
    selectors_match_the_pods, services_are_two, shutdown_has_time, types_say_their_rollout, writable_paths_are_volumes,
)


def break_config(m, old, new):
    data = m.one("ConfigMap")["data"]
    assert old in data["larder.yaml"]
    data["larder.yaml"] = data["larder.yaml"].replace(old, new)


def unmount(m, path):
    mounts = m.container["volumeMounts"]
    mounts.remove(next(v for v in mounts if v["mountPath"] == path))


def mount_config_as_a_file(m):
    mount = next(v for v in m.container["volumeMounts"] if v["name"] == "config")
    mount.update(mountPath="/etc/larder/larder.yaml", subPath="larder.yaml")


def service(m, name):
    return next(s for s in m.all("Service") if s["metadata"]["name"] == name)["spec"]


def certificate(m):
    return next(o for o in m.objects if o["kind"] == "Certificate" and o["metadata"]["name"] == "larder")["spec"]


def scaler(m):
    return m.one("HorizontalPodAutoscaler")["spec"]


def redis_pod(m):
    return m.one("StatefulSet", "redis")["spec"]["template"]["spec"]


def set_variable(m, name, value):
    m.container["env"].append({"name": name, "value": value})


FAULTS = [
    (runs_without_privileges, lambda m: m.pod["securityContext"].pop("runAsNonRoot")),
    (runs_without_privileges, lambda m: m.container["securityContext"]["capabilities"].update(add=["NET_ADMIN"])),
    (runs_without_privileges, lambda m: m.container["securityContext"].pop("readOnlyRootFilesystem")),
    (runs_without_privileges, lambda m: m.one("Namespace")["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce")),
    (has_no_token, lambda m: m.pod.pop("automountServiceAccountToken")),
    (environment_is_larders, lambda m: m.pod.pop("enableServiceLinks")),
    (environment_is_larders, lambda m: m.container["env"].clear()),
    (probes_ask_the_right_service, lambda m: m.container["readinessProbe"].update(m.container["livenessProbe"])),
    (probes_ask_the_right_service, lambda m: m.container["startupProbe"].update(grpc={"port": 50051, "service": "liveness"})),
    (image_is_pinned, lambda m: m.container.update(image="larder:latest")),
    (image_is_pinned, lambda m: m.container.update(image="larder")),
    (selectors_match_the_pods, lambda m: m.one("PodDisruptionBudget")["spec"].update(selector={})),
    (selectors_match_the_pods, lambda m: m.all("Service")[0]["spec"]["selector"].update(tier="cache")),
    (ports_match, lambda m: service(m, "larder")["ports"][0].update(targetPort=50051)),
    (ports_match, lambda m: service(m, "larder")["ports"].pop()),
    (ports_match, lambda m: service(m, "larder-headless")["ports"][0].update(port=50051)),
    (ports_match, lambda m: m.one("NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port=50051)),
    (ports_match, lambda m: service(m, "larder")["ports"][0].update(appProtocol="http")),
    (ports_match, lambda m: break_config(m, "0.0.0.0:50052", "127.0.0.1:50052")),
    (ports_match, lambda m: break_config(m, "127.0.0.1:50051", "0.0.0.0:50051")),
    (services_are_two, lambda m: [s["spec"].pop("clusterIP", None) for s in m.all("Service")]),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["ingress"][0].pop("from")),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["egress"].append({})),
    (memory_is_bounded, lambda m: m.container["resources"]["limits"].pop("memory")),
    (writable_paths_are_volumes, lambda m: unmount(m, "/tmp")),
    (writable_paths_are_volumes, lambda m: m.volume_at("/etc/larder")["configMap"].update(name="another")),
    (journal_fits_its_volume, lambda m: set_variable(m, "LARDER_JOURNAL_MAX_BYTES", "30GiB")),
    (journal_fits_its_volume, lambda m: unmount(m, "/var/lib/larder")),
    (secrets_stay_secret, lambda m: m.objects.append({"kind": "Secret", "metadata": {}})),
    (shutdown_has_time, lambda m: break_config(m, "drain: 20s", "drain: 1m")),
    (shutdown_has_time, lambda m: break_config(m, "delay: 5s", "delay: 0s")),
    (disruption_is_bounded, lambda m: m.one("PodDisruptionBudget")["spec"].update(maxUnavailable=3)),
    (replicas_spread, lambda m: (m.stateful_set.update(replicas=3), m.pod["topologySpreadConstraints"].clear())),
    (lives_in_one_namespace, lambda m: m.one("StatefulSet")["metadata"].pop("namespace")),
    (config_is_accepted, lambda m: break_config(m, "drain:", "drian:")),
]

# Where the second tier is on the replica's own volume, and where it is in Redis.
DISK_FAULTS = [
    (second_tier_fits_its_volume, lambda m: set_variable(m, "LARDER_L2_ROCKSDB_MAX_BYTES", "50GiB")),
    (second_tier_fits_its_volume, lambda m: unmount(m, "/var/lib/larder")),
    (replicas_share_a_tier, lambda m: m.stateful_set.update(replicas=2)),
]
REDIS_FAULTS = [
    (replicas_share_a_tier, lambda m: set_variable(m, "LARDER_NODE_ID", "7")),
    (replicas_share_a_tier, lambda m: set_variable(m, "LARDER_L2_REDIS_ENABLED", "false")),
    (secrets_stay_secret, lambda m: unmount(m, "/etc/larder-redis")),
    (secrets_stay_secret, lambda m: m.volume_at("/etc/larder-redis")["secret"].pop("defaultMode")),
    (secrets_stay_secret, lambda m: break_config(m, "url_file: /etc/larder-redis/url", "url: redis://redis")),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["egress"].pop()),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["egress"][-1].pop("ports")),
    (config_is_accepted, lambda m: set_variable(m, "LARDER_L2_ROCKSDB_ENABLED", "true")),
]

# Where `default` has but a part of its keys in the cache.
ROLLOUT_FAULTS = [
    (types_say_their_rollout, lambda m: break_config(m, "types:\n", 'types:\n  user: { match: ["user:{id}"] }\n')),
]

# Where the admin port is open.
ADMIN_FAULTS = [
    (ports_match, lambda m: set_variable(m, "LARDER_LISTEN_ADMIN", "127.0.0.1:8080")),
]

# Where Prometheus may look at it.
METRICS_FAULTS = [
    (ports_match, lambda m: m.stateful_set["template"]["metadata"]["annotations"].update({"prometheus.io/port": "50051"})),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["ingress"][-1]["from"][0].pop("podSelector")),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["ingress"][-1]["ports"].append({"port": "native"})),
]

OPERATOR_FAULTS = [
    (services_are_two, lambda m: service(m, METRICS_SERVICE).pop("publishNotReadyAddresses")),
    (ports_match, lambda m: service(m, METRICS_SERVICE)["ports"][0].update(targetPort="native")),
    (operator_finds_what_it_reads, lambda m: service(m, METRICS_SERVICE)["ports"][0].update(name="http")),
    (operator_finds_what_it_reads, lambda m: m.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component")),
    (operator_finds_what_it_reads, lambda m: m.drop("PrometheusRule")),
]

RUN_REDIS_FAULTS = [
    (redis_is_kept_in, lambda m: redis_pod(m)["containers"][0].update(image="redis:latest")),
    (redis_is_kept_in, lambda m: redis_pod(m)["containers"][0]["securityContext"].pop("readOnlyRootFilesystem")),
    (redis_is_kept_in, lambda m: redis_pod(m)["volumes"][0]["secret"].update(secretName="another")),
    (redis_is_kept_in, lambda m: m.one("Service", "redis")["spec"]["selector"].update(tier="cache")),
    (redis_is_kept_in, lambda m: m.one("NetworkPolicy", "redis")["spec"]["ingress"][0].pop("from")),
]

TLS_FAULTS = [
    (probes_ask_the_right_service, lambda m: m.container["livenessProbe"].update(grpc={"port": 50052, "service": "liveness"})),
    (certificate_fits, lambda m: certificate(m)["dnsNames"].remove("larder")),
    (certificate_fits, lambda m: m.one("Namespace")["metadata"].update(name="elsewhere")),
    (certificate_fits, lambda m: certificate(m).update(secretName="another")),
    (certificate_fits, lambda m: certificate(m).update(renewBefore="240h")),
    (certificate_fits, lambda m: certificate(m)["issuerRef"].update(name="nobody")),
    (certificate_fits, lambda m: m.volume_at("/etc/larder-tls")["secret"].pop("defaultMode")),
]

SCALER_FAULTS = [
    (scales_by_what_it_can, lambda m: m.stateful_set.update(replicas=3)),
    (scales_by_what_it_can, lambda m: scaler(m)["metrics"][0]["resource"].update(name="memory")),
    (scales_by_what_it_can, lambda m: scaler(m)["metrics"].pop()),
    (scales_by_what_it_can, lambda m: scaler(m)["behavior"]["scaleDown"].pop("stabilizationWindowSeconds")),
]


# Where the ConfigMap keeps its name.
SWAP_FAULTS = [
    (swapped_config_arrives, lambda m: m.one("ConfigMap").update(immutable=True)),
    (swapped_config_arrives, lambda m: mount_config_as_a_file(m)),
    (swapped_config_arrives, lambda m: break_config(m, "shutdown:", "reload: { look: off }\nshutdown:")),
    (swapped_config_arrives, lambda m: break_config(m, "shutdown:", "reload: { look: 1d }\nshutdown:")),
]


def faults_for(m):
    """Those that can be put into these manifests."""
    faults = list(FAULTS)
    faults += REDIS_FAULTS if m.redis else DISK_FAULTS
    if any(re.search(r"default\.rollout\.\w+=(?!100%)", arg) for arg in m.container["args"]):
        faults += ROLLOUT_FAULTS
    if any(port["name"] == "admin" for port in m.container["ports"]):
        faults += ADMIN_FAULTS
    if "prometheus.io/scrape" in m.stateful_set["template"]["metadata"]["annotations"]:
        faults += METRICS_FAULTS
    for kind, more in (("ServiceMonitor", OPERATOR_FAULTS), ("Certificate", TLS_FAULTS), ("HorizontalPodAutoscaler", SCALER_FAULTS)):
        if any(o["kind"] == kind for o in m.objects):
            faults += more
    if not m.config_map_is_hashed:
        faults += SWAP_FAULTS
    if m.all("StatefulSet", "redis"):
        faults += RUN_REDIS_FAULTS
    return faults
