"""What larder promises of its manifests and no schema can say: RULES. Each rule yields what is wrong."""

import os

from manifests import seconds, selects, size

# The native lane, the one to expose. The Service with an address has it at the port of the reference lane, too; a headless one
# translates no port.
PORT = 50052
REFERENCE_PORT = 50051
ADMIN_PORT = 8080
USER = 65532
CONFIG = "/etc/larder/larder.yaml"
METRICS_SERVICE = "larder-metrics"
# What the endpoints of a Service take to reach every node.
ENDPOINTS_S = 5
DRAIN_MARGIN_S = 5
# Of a volume, what the second tier may take: the rest is for the file system and the other files in data.path.
DISK_PART = 0.8
REDIS_PORTS = {6379, 26379}

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
    for probe, service, path in (("startupProbe", "liveness", "/healthz"), ("livenessProbe", "liveness", "/healthz"),
                                 ("readinessProbe", "readiness", "/readyz")):
        # The kubelet's gRPC probes speak no TLS.
        kind, wanted = ("httpGet", {"port": "admin", "path": path}) if m.tls else ("grpc", {"port": PORT, "service": service})
        asked = m.container.get(probe, {})
        if asked.get(kind) != wanted or {"grpc", "httpGet", "exec", "tcpSocket"} & set(asked) != {kind}:
            yield f"{probe} does not ask {wanted} and nothing else"


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
    if ports.get("native") != PORT:
        yield f"the container's ports are {ports}"
    listen = m.effective().get("listen", {})
    if (listen.get("native"), listen.get("grpc")) != (f"0.0.0.0:{PORT}", f"127.0.0.1:{REFERENCE_PORT}"):
        yield f"the config listens on {listen.get('native')} and {listen.get('grpc')}"
    for service in m.all("Service"):
        name = service["metadata"]["name"]
        wanted = ADMIN_PORT if name == METRICS_SERVICE else PORT
        known = {wanted, REFERENCE_PORT} if wanted == PORT and service["spec"].get("clusterIP") != "None" else {wanted}
        if {port["port"] for port in service["spec"]["ports"]} != known:
            yield f"Service {name} has the ports {service['spec']['ports']}"
        for port in service["spec"]["ports"]:
            if ports.get(port["targetPort"], port["targetPort"]) != wanted:
                yield f"Service {name} leads to {port}"
            if wanted == PORT and port["appProtocol"] != ("https" if m.tls else "kubernetes.io/h2c"):
                yield f"Service {name} says that it speaks {port['appProtocol']}"
    open_ports = {PORT}
    if "admin" in ports:
        open_ports.add(ADMIN_PORT)
        listens = m.effective().get("listen", {}).get("admin")
        if ports["admin"] != ADMIN_PORT or listens != f"0.0.0.0:{ADMIN_PORT}":
            yield f"the admin port is {ports['admin']} and listens on {listens}"
        annotations = m.stateful_set["template"]["metadata"]["annotations"]
        if annotations.get("prometheus.io/port", str(ADMIN_PORT)) != str(ADMIN_PORT):
            yield "Prometheus is sent to another port than the admin port"
    for rule in m.one("NetworkPolicy")["spec"]["ingress"]:
        for port in rule["ports"]:
            if ports.get(port["port"], port["port"]) not in open_ports:
                yield f"the NetworkPolicy lets {port} in"


def services_are_two(m):
    services = {s["metadata"]["name"]: s["spec"] for s in m.all("Service")}
    if services.get(m.stateful_set["serviceName"], {}).get("clusterIP") != "None":
        yield "the StatefulSet's service is not headless"
    if not any(s.get("clusterIP") != "None" for s in services.values()):
        yield "no Service has an address"
    if not services.get(METRICS_SERVICE, {"publishNotReadyAddresses": True}).get("publishNotReadyAddresses"):
        yield "Prometheus does not see replicas that are not ready"


def network_is_closed(m):
    policy = m.one("NetworkPolicy")["spec"]
    if sorted(policy["policyTypes"]) != ["Egress", "Ingress"]:
        yield "one direction is open"
    for rule in policy["ingress"]:
        # The admin port is for Prometheus, the others are for clients.
        admin = [p["port"] for p in rule.get("ports", [])] == ["admin"]
        wanted = {"app.kubernetes.io/name": "prometheus"} if admin else {"larder-client": "true"}
        if not rule.get("ports") or not all(selects(wanted, peer.get("podSelector", {}).get("matchLabels", {}))
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


def journal_fits_its_volume(m):
    effective = m.effective()
    journal, rocksdb = effective.get("journal", {}), effective.get("l2", {}).get("rocksdb", {})
    if not journal:
        return  # larderd refuses the config
    volume = m.volume_at(m.config["data"]["path"]) or {}
    room = volume.get("resources", {}).get("requests", {}).get("storage") or volume.get("emptyDir", {}).get("sizeLimit")
    # Twice what waits, for what is being compacted.
    needed = 2 * size(journal["max_bytes"]) + (size(rocksdb["max_bytes"]) if rocksdb.get("enabled") else 0)
    if not room or needed > size(room):
        yield f"journal.max_bytes is {journal['max_bytes']} on a volume of {room} that holds the second tier, too"


def replicas_share_a_tier(m):
    replicas = m.replicas
    if replicas > 1 and not m.redis:
        yield f"{replicas} replicas without a Redis are {replicas} caches"
    ids = [m.effective(ordinal).get("node", {}).get("id") for ordinal in range(replicas)]
    if len(set(ids)) != replicas:
        yield f"the replicas' numbers are {ids}"


def secrets_stay_secret(m):
    if any(o["kind"] == "Secret" for o in m.objects):
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
    if m.replicas > 1 and not {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys:
        yield f"replicas spread over {sorted(keys)} only"


def lives_in_one_namespace(m):
    name = m.one("Namespace")["metadata"]["name"]
    for o in m.objects:
        if o["kind"] != "Namespace" and o.get("metadata", {}).get("namespace") != name:
            yield f"{o['kind']} {o['metadata']['name']} is not in {name}"


def config_is_accepted(m):
    if m.container["args"][:2] != ["--config", CONFIG]:
        yield f"larderd gets {m.container['args']}"
    done = m.larderd("--check")
    if done.returncode != 0:
        yield f"larderd --check says {done.returncode}: {done.stdout}{done.stderr}"


def types_say_their_rollout(m):
    """In the phases of a rollout: types do not inherit that of `default`."""
    done = m.config_check()
    if done.returncode != 0:
        yield f"larder config check says {done.returncode}: {done.stdout}{done.stderr}"


RULES = [
    runs_without_privileges, has_no_token, environment_is_larders, probes_ask_the_right_service, image_is_pinned,
    selectors_match_the_pods, ports_match, services_are_two, network_is_closed, memory_is_bounded,
    writable_paths_are_volumes, second_tier_fits_its_volume, journal_fits_its_volume, replicas_share_a_tier, secrets_stay_secret,
    shutdown_has_time, disruption_is_bounded, replicas_spread, lives_in_one_namespace, config_is_accepted,
    types_say_their_rollout,
]
