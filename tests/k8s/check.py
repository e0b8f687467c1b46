"""Checks rendered Kubernetes manifests: check.py FILE.yaml...

First the schemas of the oldest and the newest supported Kubernetes, strictly; then what schemas cannot say: RULES below.
Every rule is also tried on manifests with a fault put in (FAULTS), so that a rule that finds nothing any more is itself
found. The config in the ConfigMap goes through the real larderd (environment: LARDERD).
"""

import copy
import os
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

# docs/kubernetes.md names them.
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
PORT = 50051
USER = 65532
CONFIG = "/etc/larder/larder.yaml"
# What the endpoints of a Service take to reach every node.
ENDPOINTS_S = 5
DRAIN_MARGIN_S = 5
# Of a volume, what the second tier may take: the rest is for the file system and the other files in data.path.
DISK_PART = 0.8
REDIS_PORTS = {6379, 26379}


class Manifests:
    """The objects of one rendered overlay."""

    def __init__(self, objects):
        self.objects = objects

    def all(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind):
        (found,) = self.all(kind)
        return found

    @property
    def stateful_set(self):
        return self.one("StatefulSet")["spec"]

    @property
    def pod(self):
        return self.stateful_set["template"]["spec"]

    @property
    def pod_labels(self):
        return self.stateful_set["template"]["metadata"]["labels"]

    @property
    def container(self):
        (container,) = self.pod["containers"]
        return container

    @property
    def config_text(self):
        return self.one("ConfigMap")["data"]["larder.yaml"]

    @property
    def config(self):
        return yaml.safe_load(self.config_text)

    def larderd(self, *args, ordinal=0):
        """Runs larderd with the config and the environment that the replica of that ordinal gets."""
        env = dict(os.environ)
        for variable in self.container["env"]:
            field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            env[variable["name"]] = f"larder-{ordinal}" if field == "metadata.name" else variable.get("value", "")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(self.config_text)
            file.flush()
            return subprocess.run([os.environ["LARDERD"], "--config", file.name, *args], env=env, capture_output=True,
                                  text=True, timeout=60, check=False)

    def effective(self, ordinal=0):
        """All settings as larderd has them; empty when it refuses them, which is a rule of its own."""
        return yaml.safe_load(self.larderd("--print-config", ordinal=ordinal).stdout) or {}

    @property
    def redis(self):
        """l2.redis, or None when that is not the second tier."""
        redis = self.effective().get("l2", {}).get("redis", {})
        return redis if redis.get("enabled") else None

    def volume_at(self, path):
        """The volume or the claim that is mounted at the path, or None."""
        names = [v["name"] for v in self.container["volumeMounts"] if v["mountPath"] == path]
        all_of_them = {v["name"]: v for v in self.pod["volumes"]}
        all_of_them.update({c["metadata"]["name"]: c["spec"] for c in self.stateful_set.get("volumeClaimTemplates", [])})
        return all_of_them.get(names[0]) if names else None


def seconds(duration):
    """Seconds of a duration as larder.yaml writes it."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", duration))


def size(text):
    """Bytes of a size, as Kubernetes (10Gi) or larder.yaml (10GiB) writes it."""
    number, unit = re.fullmatch(r"([\d.]+)([KMGT]?)(?:i|iB|B)?", str(text)).groups()
    return float(number) * 1024 ** " KMGT".index(unit or " ")


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


# Each rule yields what is wrong.


def runs_without_privileges(m):
    pod, container = m.pod["securityContext"], m.container["securityContext"]
    if not pod.get("runAsNonRoot") or pod.get("runAsUser") != USER or pod.get("runAsGroup") != USER:
        yield f"the pod does not run as {USER}"
    if pod.get("fsGroup") != USER:
        yield "the volume is not writable for the process: fsGroup"
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if container.get("allowPrivilegeEscalation") is not False:
        yield "privileges can grow"
    if container.get("readOnlyRootFilesystem") is not True:
        yield "the root file system is writable"
    if container.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities are kept"
    if any(m.pod.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")) or container.get("privileged"):
        yield "the pod shares the host's namespaces"
    level = m.one("Namespace")["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
    if level != "restricted":
        yield f"the namespace enforces {level}, not restricted"


def has_no_token(m):
    if m.pod.get("automountServiceAccountToken") is not False:
        yield "the service account's token is mounted"


def environment_is_larders(m):
    if m.pod.get("enableServiceLinks") is not False:
        yield "Kubernetes sets variables for the Services, which read like overrides of larderd's config"
    names = {e["name"] for e in m.container["env"]}
    if "LARDER_NODE_NAME" not in names:
        yield "the node has no stable name"


def probes_ask_the_right_service(m):
    for probe, service in (("startupProbe", "liveness"), ("livenessProbe", "liveness"), ("readinessProbe", "readiness")):
        if m.container.get(probe, {}).get("grpc") != {"port": PORT, "service": service}:
            yield f"{probe} does not ask {service} on {PORT}"


def image_is_pinned(m):
    tag = m.container["image"].partition(":")[2]
    if tag in ("", "latest"):
        yield f"image {m.container['image']} has no fixed tag"


def selectors_match_the_pods(m):
    found = [("StatefulSet", m.stateful_set["selector"]["matchLabels"])]
    found += [("Service " + s["metadata"]["name"], s["spec"].get("selector")) for s in m.all("Service")]
    found += [("PodDisruptionBudget", m.one("PodDisruptionBudget")["spec"]["selector"].get("matchLabels"))]
    found += [("NetworkPolicy", m.one("NetworkPolicy")["spec"]["podSelector"].get("matchLabels"))]
    found += [("spread", c["labelSelector"]["matchLabels"]) for c in m.pod["topologySpreadConstraints"]]
    for term in m.pod.get("affinity", {}).get("podAntiAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", []):
        found.append(("anti-affinity", term["labelSelector"]["matchLabels"]))
    for name, selector in found:
        if not selects(selector, m.pod_labels):
            yield f"{name} selects {selector}, the pods have {m.pod_labels}"


def ports_match(m):
    ports = {p["name"]: p["containerPort"] for p in m.container["ports"]}
    if ports.get("grpc") != PORT:
        yield f"the container's ports are {ports}"
    listen = m.config["listen"]["grpc"]
    if listen != f"0.0.0.0:{PORT}":
        yield f"the config listens on {listen}"
    for service in m.all("Service"):
        for port in service["spec"]["ports"]:
            if ports.get(port["targetPort"], port["targetPort"]) != PORT or port["port"] != PORT:
                yield f"Service {service['metadata']['name']} leads to {port}"
    for rule in m.one("NetworkPolicy")["spec"]["ingress"]:
        for port in rule["ports"]:
            if ports.get(port["port"], port["port"]) != PORT:
                yield f"the NetworkPolicy lets {port} in"


def services_are_two(m):
    services = {s["metadata"]["name"]: s["spec"] for s in m.all("Service")}
    if services.get(m.stateful_set["serviceName"], {}).get("clusterIP") != "None":
        yield "the StatefulSet's service is not headless"
    if not any(s.get("clusterIP") != "None" for s in services.values()):
        yield "no Service has an address"


def network_is_closed(m):
    policy = m.one("NetworkPolicy")["spec"]
    if sorted(policy["policyTypes"]) != ["Egress", "Ingress"]:
        yield "one direction is open"
    for rule in policy["ingress"]:
        if not rule.get("ports") or not all(selects({"larder-client": "true"}, peer.get("podSelector", {}).get("matchLabels", {}))
                                            for peer in rule.get("from") or [{}]):
            yield f"lets in more than labelled clients: {rule}"
    open_ports = [{p["port"] for p in rule.get("ports", [{"port": None}])} for rule in policy["egress"]]
    for rule, ports in zip(policy["egress"], open_ports):
        if not rule.get("to") or not (ports == {53} or m.redis and ports == REDIS_PORTS):
            yield f"lets out more than DNS and the second tier: {rule}"
    if m.redis and REDIS_PORTS not in open_ports:
        yield f"Redis and its Sentinels, ports {sorted(REDIS_PORTS)}, cannot be reached"


def memory_is_bounded(m):
    resources = m.container["resources"]
    if not resources["limits"].get("memory") or resources["limits"]["memory"] != resources["requests"].get("memory"):
        yield f"memory's request is not its limit: {resources}"
    if "cpu" not in resources["requests"]:
        yield "no CPU is requested"


def writable_paths_are_volumes(m):
    mounts = {v["mountPath"]: v["name"] for v in m.container["volumeMounts"]}
    volumes = {v["name"]: v for v in m.pod["volumes"]}
    claims = {c["metadata"]["name"]: c["spec"] for c in m.stateful_set.get("volumeClaimTemplates", [])}
    for path in ("/tmp", m.config["data"]["path"]):
        if path not in mounts:
            yield f"{path} is not on a volume"
    for path, name in mounts.items():
        if (name in volumes) == (name in claims):
            yield f"{path} is mounted from {name}, which is no volume, or two"
    for name, claim in claims.items():
        if not claim.get("accessModes") or not claim["resources"]["requests"].get("storage"):
            yield f"the claim {name} lacks its access mode or its size"
    if (m.volume_at(os.path.dirname(CONFIG)) or {}).get("configMap", {}).get("name") != m.one("ConfigMap")["metadata"]["name"]:
        yield "the pod mounts another ConfigMap"
    if any("subPath" in v for v in m.container["volumeMounts"]):
        yield "a mount by subPath never sees a changed config"


def second_tier_fits_its_volume(m):
    rocksdb = m.effective().get("l2", {}).get("rocksdb", {})
    if not rocksdb.get("enabled"):
        return
    volume = m.volume_at(m.config["data"]["path"]) or {}
    room = volume.get("resources", {}).get("requests", {}).get("storage") or volume.get("emptyDir", {}).get("sizeLimit")
    if not room:
        yield f"the volume of the second tier has no size: {volume}"
    elif size(rocksdb["max_bytes"]) > DISK_PART * size(room):
        yield f"l2.rocksdb.max_bytes is {rocksdb['max_bytes']} on a volume of {room}"


def replicas_share_a_tier(m):
    replicas = m.stateful_set["replicas"]
    if replicas > 1 and not m.redis:
        yield f"{replicas} replicas without a Redis are {replicas} caches"
    ids = [m.effective(ordinal).get("node", {}).get("id") for ordinal in range(replicas)]
    if len(set(ids)) != replicas:
        yield f"the replicas' numbers are {ids}"


def secrets_stay_secret(m):
    if m.all("Secret"):
        yield "a Secret is among the manifests"
    if not m.redis:
        return
    if m.redis["url"]:
        yield "the url of Redis stands in the ConfigMap"
    for field in ("url_file", "password_file"):
        secret = (m.volume_at(os.path.dirname(m.redis[field])) or {}).get("secret")
        if not secret:
            yield f"l2.redis.{field} is {m.redis[field]!r}, which is in no Secret"
        elif secret.get("defaultMode") != 0o440:
            yield f"the Secret {secret['secretName']} can be read by others, or not by the pod's group"


def shutdown_has_time(m):
    shutdown = m.config["shutdown"]
    if seconds(shutdown["delay"]) < ENDPOINTS_S:
        yield "the pod stops serving before the Services' endpoints forget it"
    needed = seconds(shutdown["delay"]) + seconds(shutdown["drain"]) + DRAIN_MARGIN_S
    if m.pod["terminationGracePeriodSeconds"] < needed:
        yield f"terminationGracePeriodSeconds is less than the {needed:g} s of delay, drain and margin"


def disruption_is_bounded(m):
    if m.one("PodDisruptionBudget")["spec"].get("maxUnavailable") != 1:
        yield "more than one replica may go at a time"


def replicas_spread(m):
    keys = {c["topologyKey"] for c in m.pod["topologySpreadConstraints"]}
    if m.stateful_set["replicas"] > 1 and not {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys:
        yield f"replicas spread over {sorted(keys)} only"


def lives_in_one_namespace(m):
    name = m.one("Namespace")["metadata"]["name"]
    for o in m.objects:
        if o["kind"] != "Namespace" and o["metadata"].get("namespace") != name:
            yield f"{o['kind']} {o['metadata']['name']} is not in {name}"


def config_is_accepted(m):
    if m.container["args"] != ["--config", CONFIG]:
        yield f"larderd gets {m.container['args']}"
    done = m.larderd("--check")
    if done.returncode != 0:
        yield f"larderd --check says {done.returncode}: {done.stdout}{done.stderr}"


RULES = [
    runs_without_privileges, has_no_token, environment_is_larders, probes_ask_the_right_service, image_is_pinned,
    selectors_match_the_pods, ports_match, services_are_two, network_is_closed, memory_is_bounded,
    writable_paths_are_volumes, second_tier_fits_its_volume, replicas_share_a_tier, secrets_stay_secret, shutdown_has_time,
    disruption_is_bounded, replicas_spread, lives_in_one_namespace, config_is_accepted,
]


def break_config(m, old, new):
    data = m.one("ConfigMap")["data"]
    assert old in data["larder.yaml"]
    data["larder.yaml"] = data["larder.yaml"].replace(old, new)


def unmount(m, path):
    mounts = m.container["volumeMounts"]
    mounts.remove(next(v for v in mounts if v["mountPath"] == path))


def set_variable(m, name, value):
    m.container["env"].append({"name": name, "value": value})


# What goes wrong in practice, and the rule that has to see it.
FAULTS = [
    (runs_without_privileges, lambda m: m.pod["securityContext"].pop("runAsNonRoot")),
    (runs_without_privileges, lambda m: m.container["securityContext"]["capabilities"].update(add=["NET_ADMIN"])),
    (runs_without_privileges, lambda m: m.container["securityContext"].pop("readOnlyRootFilesystem")),
    (runs_without_privileges, lambda m: m.one("Namespace")["metadata"]["labels"].clear()),
    (has_no_token, lambda m: m.pod.pop("automountServiceAccountToken")),
    (environment_is_larders, lambda m: m.pod.pop("enableServiceLinks")),
    (environment_is_larders, lambda m: m.container["env"].clear()),
    (probes_ask_the_right_service, lambda m: m.container["readinessProbe"]["grpc"].update(service="liveness")),
    (image_is_pinned, lambda m: m.container.update(image="larder:latest")),
    (image_is_pinned, lambda m: m.container.update(image="larder")),
    (selectors_match_the_pods, lambda m: m.one("PodDisruptionBudget")["spec"].update(selector={})),
    (selectors_match_the_pods, lambda m: m.all("Service")[0]["spec"]["selector"].update(tier="cache")),
    (ports_match, lambda m: m.all("Service")[0]["spec"]["ports"][0].update(targetPort=50052)),
    (ports_match, lambda m: break_config(m, "0.0.0.0:50051", "127.0.0.1:50051")),
    (services_are_two, lambda m: [s["spec"].pop("clusterIP", None) for s in m.all("Service")]),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["ingress"][0].pop("from")),
    (network_is_closed, lambda m: m.one("NetworkPolicy")["spec"]["egress"].append({})),
    (memory_is_bounded, lambda m: m.container["resources"]["limits"].pop("memory")),
    (writable_paths_are_volumes, lambda m: unmount(m, "/tmp")),
    (writable_paths_are_volumes, lambda m: m.volume_at("/etc/larder")["configMap"].update(name="larder-config")),
    (secrets_stay_secret, lambda m: m.objects.append({"kind": "Secret"})),
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


def schema_problems(objects):
    for version in (OLDEST, NEWEST):
        for o in objects:
            try:
                kubernetes_validate.validate(o, version, strict=True)
            except kubernetes_validate.ValidationError as e:
                yield f"Kubernetes {version}: {o['kind']} {'.'.join(map(str, e.path))}: {e.message}"


def main(files):
    problems = []
    for file in files:
        with open(file, encoding="utf-8") as stream:
            objects = [o for o in yaml.safe_load_all(stream) if o]
        name = os.path.basename(file)
        problems += [f"{name}: {p}" for p in schema_problems(objects)]
        for rule in RULES:
            problems += [f"{name}: {p}" for p in rule(Manifests(objects))]
        faults = FAULTS + (REDIS_FAULTS if Manifests(objects).redis else DISK_FAULTS)
        for rule, fault in faults:
            broken = Manifests(copy.deepcopy(objects))
            fault(broken)
            if not list(rule(broken)):
                problems.append(f"{name}: {rule.__name__} misses a fault that was put in, number {faults.index((rule, fault))}")
        wrong = copy.deepcopy(objects)
        Manifests(wrong).container["readOnlyRootFileSystem"] = True
        if not list(schema_problems(wrong)):
            problems.append(f"{name}: the schemas accept an unknown field")
        print(f"{name}: {len(objects)} objects, Kubernetes {OLDEST} and {NEWEST}, {len(RULES)} rules")
    print("\n".join(problems))
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
