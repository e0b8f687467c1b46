"""Checks rendered Kubernetes manifests: check.py FILE.yaml..., of which the names are OVERLAY.yaml or OVERLAY+COMPONENT.yaml.

First the schemas of the oldest and the newest supported Kubernetes, strictly, and those of custom resources as their makers
publish them (environment: CRDS, a folder); then what schemas cannot say: rules.py and component_rules.py. Every rule is also
tried on manifests with a fault put in (faults.py). The config in the ConfigMap goes through the real larderd (environment:
LARDERD).
"""

import concurrent.futures
import copy
import os
import pathlib
import sys

sys.dont_write_bytecode = True
import jsonschema  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402
from component_rules import COMPONENT_RULES  # noqa: E402
from faults import faults_for  # noqa: E402
from manifests import Manifests  # noqa: E402
from rules import RULES  # noqa: E402

# docs/kubernetes.md names them.
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
# Of an overlay: the parts of the keys that are read from the cache, and whose writes are kept. docs/rollout.md names them.
PHASES = {"phase-1": ("10%", "0%"), "phase-2": ("100%", "10%"), "phase-3": ("100%", "100%")}
# What shows that a component is there, and that without it is not.
BRINGS = {
    "hot-reload": lambda m: not m.config_map_is_hashed,
    "hpa": lambda m: m.all("HorizontalPodAutoscaler"),
    "metrics": lambda m: "prometheus.io/scrape" in m.stateful_set["template"]["metadata"]["annotations"],
    "prometheus-operator": lambda m: any(o["kind"] == "ServiceMonitor" for o in m.objects),
    "redis": lambda m: m.all("StatefulSet", "redis"),
    "tls": lambda m: m.tls,
}
# Those that bring others.
TOGETHER = {"prometheus-operator": {"metrics", "prometheus-operator"}, "hot-reload-of-my-own": {"hot-reload"}, "all": set(BRINGS), "all-reversed": set(BRINGS)}
# For replicas that share a Redis.
FLEETS_ALONE = {"hpa", "redis"}
# What belongs to Kubernetes itself has no dots in its group, or these at its end.
OWN_GROUPS = (".k8s.io",)


def strict(schema):
    """The schema with unknown fields refused, as the API server refuses them with strict validation."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if "properties" in made and "additionalProperties" not in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
    return made


class Definitions(yaml.SafeLoader):
    """Reads `=`, one of the values of an enumeration, as the text that it is."""


Definitions.add_constructor("tag:yaml.org,2002:value", yaml.SafeLoader.construct_yaml_str)


def custom_schemas(folder):
    """By (apiVersion, kind)."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        definition = yaml.load(path.read_text(encoding="utf-8"), Definitions)["spec"]
        for version in definition["versions"]:
            schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
            found[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = strict(schema)
    return found


CUSTOM = custom_schemas(os.environ["CRDS"])


def is_custom(o):
    group = o["apiVersion"].rpartition("/")[0]
    return "." in group and not group.endswith(OWN_GROUPS)


def schema_problems(objects):
    for o in objects:
        where = f"{o['kind']} {o.get('metadata', {}).get('name')}"
        if is_custom(o):
            schema = CUSTOM.get((o["apiVersion"], o["kind"]))
            if schema is None:
                yield f"{where}: there is no schema of {o['apiVersion']}"
                continue
            for e in jsonschema.Draft7Validator(schema).iter_errors(o):
                yield f"{where} {'.'.join(map(str, e.path))}: {e.message}"
            continue
        for version in (OLDEST, NEWEST):
            try:
                kubernetes_validate.validate(o, version, strict=True)
            except kubernetes_validate.ValidationError as e:
                yield f"Kubernetes {version}: {where} {'.'.join(map(str, e.path))}: {e.message}"


def schemas_can_fail(objects):
    """An unknown field in larder's container, and one in each custom resource."""
    wrong = copy.deepcopy(objects)
    Manifests(wrong).container["readOnlyRootFileSystem"] = True
    if not list(schema_problems(wrong)):
        yield "the schemas accept an unknown field"
    for o in filter(is_custom, objects):
        wrong = copy.deepcopy(o)
        wrong["spec"]["sepc"] = True
        if not list(schema_problems([wrong])):
            yield f"the schema of {o['kind']} accepts an unknown field"


def phase_problems(overlay, objects):
    """An overlay has the rollout of the phase that it is called by, whatever components it has, and all others have none."""
    rollout = Manifests(objects).effective().get("types", {}).get("default", {}).get("rollout", {})
    found = (rollout.get("reads"), rollout.get("writes"))
    if found != PHASES.get(overlay, ("100%", "100%")):
        yield f"the rollout is {found}"


def component_problems(overlay, component, objects):
    """What a component brings is there, and nothing of the others."""
    m = Manifests(objects)
    wanted = TOGETHER.get(component, {component} if component else set())
    if not m.redis:
        wanted = wanted - FLEETS_ALONE
    found = {name for name, is_there in BRINGS.items() if is_there(m)}
    if found != wanted:
        yield f"{component or 'no component'} on {overlay} brings {sorted(found)}, not {sorted(wanted)}"


def problems_of(name, objects):
    overlay, _, component = name.partition("+")
    yield from phase_problems(overlay, objects)
    yield from component_problems(overlay, component, objects)
    yield from schema_problems(objects)
    yield from schemas_can_fail(objects)
    for rule in (*RULES, *COMPONENT_RULES):
        yield from rule(Manifests(objects))
    for number, (rule, fault) in enumerate(faults_for(Manifests(objects))):
        broken = Manifests(copy.deepcopy(objects))
        fault(broken)
        if not list(rule(broken)):
            yield f"{rule.__name__} misses a fault that was put in, number {number}"


def check(file):
    """(the line that says what was checked, problems)"""
    with open(file, encoding="utf-8") as stream:
        objects = [o for o in yaml.safe_load_all(stream) if o]
    name = os.path.basename(file)
    problems = [f"{name}: {p}" for p in problems_of(name.removesuffix(".yaml"), objects)]
    return f"{name}: {len(objects)} objects, Kubernetes {OLDEST} and {NEWEST}, {len(RULES) + len(COMPONENT_RULES)} rules", problems


def main(files):
    problems = []
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for line, found in pool.map(check, files):
            print(line, flush=True)
            problems += found
    print("\n".join(problems))
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
