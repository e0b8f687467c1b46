"""Checks the rules for Prometheus, k8s/monitoring/rules.yaml: check.py

promtool reads them, runs tests.yaml on them and notices each condition of an alert that is taken away; each alert is among
those that must fire there, says what to do and has its section in docs/runbooks.md; and the PrometheusRule of k8s/components
is what k8s/monitoring/wrap makes of them. Prints what is wrong; exit 0 passes. Environment: LARDER_SOURCE_DIR.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = pathlib.Path(os.environ.get("LARDER_SOURCE_DIR") or HERE.parents[2])
MONITORING = SOURCE / "k8s/monitoring"
SEVERITIES = {"page", "ticket"}


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def alerts_of(rules):
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def without_annotations(rules):
    """Whether an alert fires is tested, and not how it is worded: promtool would compare every sentence."""
    groups = [{**group, "rules": [{k: v for k, v in rule.items() if k != "annotations"} for rule in group["rules"]]}
              for group in rules["groups"]]
    return {**rules, "groups": groups}


def promtool(rules, tests):
    """The exit code and the words of promtool for these rules and tests."""
    with tempfile.TemporaryDirectory(prefix="larder-alerts-") as folder:
        for name, content in (("rules.yaml", without_annotations(rules)), ("tests.yaml", tests)):
            pathlib.Path(folder, name).write_text(yaml.safe_dump(content), encoding="utf-8")
        return run("promtool", "test", "rules", pathlib.Path(folder, "tests.yaml"))


def tests_pass(rules, tests):
    code, words = run("promtool", "check", "rules", MONITORING / "rules.yaml")
    if code != 0:
        yield f"promtool check rules: {words}"
    code, words = promtool(rules, tests)
    if code != 0:
        yield f"promtool test rules: {words}"


def weakened(alert):
    """The alert without one of its conditions: (what is missing, the alert)."""
    expression = alert["expr"]
    # A limit that is a number, and not the figure of the day before.
    for found in re.finditer(r"\s(==|>|<)\s+([\d.]+ \* )?[\d.]+(?! \*)(?=\s|$)", expression):
        yield found.group().strip(), {**alert, "expr": expression[:found.start()] + expression[found.end():]}
    for word in ("and", "or"):
        # Not that of `and on (...)`, which says of what it is true.
        parts = re.split(rf"\s+\b{word}\b\s+(?!on\b)", expression)
        for i, part in enumerate(parts if len(parts) > 1 else []):
            yield part, {**alert, "expr": f" {word} ".join(parts[:i] + parts[i + 1:])}
    if "for" in alert:
        yield f"for {alert['for']}", {name: value for name, value in alert.items() if name != "for"}


def tests_can_fail(rules, tests):
    """An alert that has lost one of its conditions is found by the series that must not fire, or must."""
    weak = []
    for alert in alerts_of(rules):
        few = {**tests, "tests": [test for test in tests["tests"] if any(
            case["alertname"] == alert["alert"] for case in test.get("alert_rule_test", []))]}
        for missing, without in weakened(alert):
            groups = [{**group, "rules": [without if rule is alert else rule for rule in group["rules"]]} for group in rules["groups"]]
            weak.append((alert["alert"], missing, {"groups": groups}, few))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda one: promtool(one[2], one[3])[0], weak)
        for (name, missing, _, _), code in zip(weak, done):
            if code == 0:
                yield f"the tests do not notice {name} without its condition {missing}"
    if len(weak) < 2 * len(alerts_of(rules)):
        yield f"only {len(weak)} conditions were found"


def every_alert_is_tested(rules, tests):
    cases = [case for test in tests["tests"] for case in test.get("alert_rule_test", [])]
    names = {alert["alert"] for alert in alerts_of(rules)}
    for name in sorted(names - {case["alertname"] for case in cases if case["exp_alerts"]}):
        yield f"{name} is not tested: no case expects it to fire"
    for name in sorted({case["alertname"] for case in cases} - names):
        yield f"{name} is tested, and no alert"


def every_alert_leads_somewhere(rules, _tests):
    page = SOURCE / "docs/runbooks.md"
    names = [alert["alert"].lower() for alert in alerts_of(rules)]
    for alert in alerts_of(rules):
        name, annotations = alert["alert"], alert.get("annotations", {})
        if alert.get("labels", {}).get("severity") not in SEVERITIES:
            yield f"{name}: severity is one of {sorted(SEVERITIES)}"
        if len(annotations.get("summary", "")) < 20 or len(annotations.get("description", "")) < 60:
            yield f"{name}: says too little of what it is and what to do"
        if annotations.get("runbook") != f"docs/runbooks.md#{name.lower()}":
            yield f"{name}: its runbook is {annotations.get('runbook')}"
        if name.lower() not in anchors(page):
            yield f"{name}: docs/runbooks.md has no such section"
    for heading in anchors(page)[1:]:
        if heading not in names:
            yield f"docs/runbooks.md: {heading} is no alert"
    if len(set(names)) != len(names):
        yield "two alerts have one name"


def the_object_is_up_to_date(_rules, _tests):
    made = SOURCE / "k8s/components/prometheus-operator/prometheus_rule.yaml"
    _, printed = run(MONITORING / "wrap")
    if made.read_text(encoding="utf-8") != printed:
        yield f"{made} is not what k8s/monitoring/wrap prints: run it again"
    _, linked = run(MONITORING / "wrap", "https://wiki.example/larder/")
    links = {rule["annotations"].get("runbook_url") for rule in alerts_of(yaml.safe_load(linked)["spec"])}
    if "https://wiki.example/larder/runbooks.md#lardertierdown" not in links or None in links:
        yield f"k8s/monitoring/wrap with an address links to {sorted(map(str, links))}"


def main():
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))
    # As text throughout: 0x30 is thirty zeros in promtool's language, and 48 in YAML's.
    tests = yaml.load((HERE / "tests.yaml").read_text(encoding="utf-8"), yaml.BaseLoader)
    checks = (tests_pass, tests_can_fail, every_alert_is_tested, every_alert_leads_somewhere, the_object_is_up_to_date)
    problems = [problem for check in checks for problem in check(rules, tests)]
    print("\n".join([*problems, f"{len(alerts_of(rules))} alerts, {len(tests['tests'])} tests of promtool"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
