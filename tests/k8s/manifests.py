"""The objects of one rendered overlay, and what larderd makes of its configuration."""

import os
import re
import subprocess
import tempfile

import yaml


# Without the hash of its content.
CONFIG_MAP = "larder-config"
# What the programs answered, by config, arguments and environment.
ANSWERS = {}


class Manifests:
    """The objects of one rendered overlay."""

    def __init__(self, objects):
        self.objects = objects

    def all(self, kind, name="larder"):
        """Those of a kind that are larder's; of another program that a component brings, by its name."""
        return [o for o in self.objects
                if o["kind"] == kind and o["metadata"].get("labels", {}).get("app.kubernetes.io/name") == name]

    def one(self, kind, name="larder"):
        (found,) = self.all(kind, name)
        return found

    def drop(self, kind):
        self.objects[:] = [o for o in self.objects if o["kind"] != kind]

    @property
    def replicas(self):
        """How many there are, the fewest where an autoscaler decides."""
        scalers = self.all("HorizontalPodAutoscaler")
        return scalers[0]["spec"]["minReplicas"] if scalers else self.stateful_set.get("replicas", 1)

    def variable(self, name):
        """What the environment of larderd has there, or None."""
        return next((v.get("value") for v in reversed(self.container["env"]) if v["name"] == name), None)

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
    def config_map_is_hashed(self):
        """Whether a changed config is another ConfigMap, so that the pods roll."""
        return self.one("ConfigMap")["metadata"]["name"] != CONFIG_MAP

    @property
    def config(self):
        return yaml.safe_load(self.config_text)

    def larderd(self, *args, ordinal=0):
        """Runs larderd with the config and the environment that the replica of that ordinal gets."""
        return self._with_config(lambda file: [os.environ["LARDERD"], "--config", file, *self.container["args"][2:], *args], ordinal)

    def config_check(self):
        """Runs `larder config check` on the same."""
        larder = os.path.join(os.path.dirname(os.environ["LARDERD"]), "larder")
        return self._with_config(lambda file: [larder, "config", "check", file, *self.container["args"][2:]], 0)

    def _with_config(self, command, ordinal):
        env = dict(os.environ)
        for variable in self.container["env"]:
            field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            env[variable["name"]] = f"larder-{ordinal}" if field == "metadata.name" else variable.get("value", "")
        # The rules and their faults ask the same again and again.
        asked = (self.config_text, *command("FILE"), *sorted(env.items()))
        if asked not in ANSWERS:
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                file.write(self.config_text)
                file.flush()
                ANSWERS[asked] = subprocess.run(command(file.name), env=env, capture_output=True, text=True, timeout=60, check=False)
        return ANSWERS[asked]

    def effective(self, ordinal=0):
        """All settings as larderd has them; empty when it refuses them, which is a rule of its own."""
        return yaml.safe_load(self.larderd("--print-config", ordinal=ordinal).stdout) or {}

    @property
    def tls(self):
        """The file of the certificate, or None when larderd speaks plain text."""
        return self.variable("LARDER_LISTEN_TLS_CERTIFICATE_FILE")

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
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h|d)", duration))


def size(text):
    """Bytes of a size, as Kubernetes (10Gi) or larder.yaml (10GiB) writes it."""
    number, unit = re.fullmatch(r"([\d.]+)([KMGT]?)(?:i|iB|B)?", str(text)).groups()
    return float(number) * 1024 ** " KMGT".index(unit or " ")


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()
