"""What components of k8s/ promise, each where it is there: COMPONENT_RULES. Each rule yields what is wrong."""

import os

from manifests import seconds, selects
from rules import CONFIG, METRICS_SERVICE

# LarderCertificateExpires of k8s/monitoring.
ALERT_DAYS = 14
# Little beside the minute or so that the kubelet takes.
LOOK_S_MAX = 60


def redis_is_kept_in(m):
    """The Redis of the component: runs without privileges, is reached by larder alone, and has its password from the Secret."""
    for redis in m.all("StatefulSet", "redis"):
        pod = redis["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        labels = redis["spec"]["template"]["metadata"]["labels"]
        if not pod["securityContext"].get("runAsNonRoot") or not container["securityContext"].get("readOnlyRootFilesystem") or \
                container["securityContext"].get("capabilities") != {"drop": ["ALL"]} or pod.get("automountServiceAccountToken") is not False:
            yield "Redis runs with privileges"
        if container["image"].partition(":")[2] in ("", "latest"):
            yield f"image {container['image']} has no fixed tag"
        (policy,) = [p["spec"] for p in m.all("NetworkPolicy", "redis")]
        (service,) = [s["spec"] for s in m.all("Service", "redis")]
        for name, selector in (("NetworkPolicy", policy["podSelector"]["matchLabels"]), ("Service", service["selector"]),
                               ("StatefulSet", redis["spec"]["selector"]["matchLabels"])):
            if not selects(selector, labels):
                yield f"{name} of Redis selects {selector}, its pod has {labels}"
        if selects(m.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels):
            yield "Redis is taken for a replica of larder"
        peers = [peer for rule in policy["ingress"] for peer in rule.get("from") or [{}]]
        if policy.get("egress") or len(peers) != 1 or \
                not selects(peers[0].get("podSelector", {}).get("matchLabels", {}), m.pod_labels):
            yield f"Redis is reached by {peers}"
        secrets = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        if m.redis and secrets != {(m.volume_at(os.path.dirname(m.redis["password_file"])) or {}).get("secret", {}).get("secretName")}:
            yield f"Redis has its password from {secrets}, larder from elsewhere"


def scales_by_what_it_can(m):
    for scaler in m.all("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        if (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) != ("StatefulSet", "larder"):
            yield f"scales {spec['scaleTargetRef']}"
        if "replicas" in m.stateful_set:
            yield "an apply undoes what the autoscaler did"
        kinds = {metric["type"] for metric in spec["metrics"]}
        if kinds != {"Resource", "Pods"} or any(metric.get("resource", {}).get("name") == "memory" for metric in spec["metrics"]):
            yield f"scales by {spec['metrics']}, not by CPU and calls under way"
        down = spec["behavior"]["scaleDown"]
        if down.get("stabilizationWindowSeconds", 0) < 600 or [p["value"] for p in down["policies"]] != [1]:
            yield "replicas go faster than the others warm up"


def certificate_fits(m):
    """With TLS: the certificate is for the names that clients use, and where larderd looks for it."""
    certificates = [o["spec"] for o in m.objects if o["kind"] == "Certificate" and not o["spec"].get("isCA")]
    if not m.tls:
        if certificates:
            yield "a certificate is made that larderd does not use"
        return
    (certificate,) = certificates
    secret = (m.volume_at(os.path.dirname(m.tls)) or {}).get("secret", {})
    if secret.get("secretName") != certificate["secretName"] or secret.get("defaultMode") != 0o440:
        yield f"larderd reads {m.tls} from {secret}, cert-manager writes {certificate['secretName']}"
    if (os.path.basename(m.tls), os.path.basename(m.variable("LARDER_LISTEN_TLS_KEY_FILE") or "")) != ("tls.crt", "tls.key"):
        yield "cert-manager calls the files tls.crt and tls.key"
    namespace = m.one("Namespace")["metadata"]["name"]
    names = set(certificate["dnsNames"])
    for service in m.all("Service"):
        name = service["metadata"]["name"]
        if name != METRICS_SERVICE and not {name, f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"} <= names:
            yield f"the certificate is not for {name} in {namespace}: {sorted(names)}"
    if f"*.{m.stateful_set['serviceName']}.{namespace}.svc" not in names:
        yield "the certificate is not for single replicas"
    days = {field: float(certificate[field].removesuffix("h")) / 24 for field in ("duration", "renewBefore")}
    if not ALERT_DAYS < days["renewBefore"] < days["duration"]:
        yield f"the certificate is renewed later than somebody is woken: {days}"
    issuers = {o["metadata"]["name"] for o in m.objects if o["kind"] == "Issuer"}
    if certificate["issuerRef"]["name"] not in issuers:
        yield f"nobody issues it: {certificate['issuerRef']}"


def operator_finds_what_it_reads(m):
    for monitor in (o for o in m.objects if o["kind"] == "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        found = [s for s in m.all("Service") if selects(labels, s["metadata"]["labels"])]
        if [s["metadata"]["name"] for s in found] != [METRICS_SERVICE]:
            yield f"the ServiceMonitor selects {[s['metadata']['name'] for s in found]}"
            continue
        ports = {port["name"] for port in found[0]["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in ports or endpoint["path"] != "/metrics" or not endpoint.get("honorLabels"):
                yield f"the ServiceMonitor scrapes {endpoint}"
        if not any(o["kind"] == "PrometheusRule" for o in m.objects):
            yield "there are no alerts"


def swapped_config_arrives(m):
    """Where a changed config is no other ConfigMap, the pods that run have to get it: the kubelet swaps what it has mounted as a folder,
    and larderd looks at it."""
    if m.config_map_is_hashed:
        return
    if m.one("ConfigMap").get("immutable"):
        yield "nobody can change the ConfigMap"
    mounts = [v for v in m.container["volumeMounts"] if v["name"] == "config"]
    if [v["mountPath"] for v in mounts] != [os.path.dirname(CONFIG)] or "subPath" in mounts[0]:
        yield f"the kubelet cannot swap {mounts}"
    # `off` is False for this YAML.
    look = m.effective().get("reload", {}).get("look")
    if not look or seconds(look) > LOOK_S_MAX:
        yield f"larderd looks at its config every {look}"


COMPONENT_RULES = [redis_is_kept_in, scales_by_what_it_can, certificate_fits, operator_finds_what_it_reads, swapped_config_arrives]
