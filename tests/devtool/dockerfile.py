"""Checks the Dockerfile against what larderd and larder link: dockerfile.py SOURCE_DIR BIN_DIR.

A library that the programs need and the image lacks would show only when the image runs; building it takes minutes and a
builder, so `./dev image` does that, and this reads.
"""

import pathlib
import re
import subprocess
import sys

# Linked by the sanitizers' builds alone.
SANITIZERS = re.compile(r"lib(a|ub|t|l)san\.so")
# In every Debian: what debian:bookworm-slim holds without being asked.
BASE = ["libc6", "libgcc-s1", "libstdc++6"]


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def stages(text):
    return [s for s in re.split(r"^(?=FROM )", text, flags=re.M) if s.startswith("FROM ")]


def installed(stage):
    """The packages that a stage installs."""
    found = re.search(r"apt-get install -y --no-install-recommends (.*?)&&", stage.replace("\\\n", " "), re.S)
    return set(found[1].split())


def owner(library):
    """The package of a shared library. Debian's /lib is /usr/lib, and dpkg knows a file by either name."""
    real = str(pathlib.Path(library).resolve())
    for name in (library, real, real.removeprefix("/usr"), "/usr" + library):
        done = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split(":")[0]
    return None


def with_dependencies(packages):
    """The packages and all they depend on, of those that this machine has."""
    depends = {}
    for line in output("dpkg-query", "-W", "-f", "${Package}\t${Pre-Depends}, ${Depends}\n").splitlines():
        name, _, rest = line.partition("\t")
        depends.setdefault(name, set()).update(re.findall(r"(?:^|[,|] *)([a-z0-9][a-z0-9.+-]+)", rest))
    known, pending = set(), list(packages)
    while pending:
        name = pending.pop()
        if name not in known:
            known.add(name)
            pending += depends.get(name, ())
    return known


def main(source_dir, bin_dir):
    source = pathlib.Path(source_dir)
    text = (source / "Dockerfile").read_text(encoding="utf-8")
    build, final = stages(text)
    problems = []

    here = with_dependencies(installed(final) | set(BASE))
    libraries = set()
    for program in ("larderd", "larder"):
        for line in output("ldd", str(pathlib.Path(bin_dir) / program)).splitlines():
            if "not found" in line:
                problems.append(f"{program}: {line.strip()}")
            found = re.search(r"=> (/\S+)", line)
            if found and not SANITIZERS.search(found[1]):
                libraries.add(found[1])
    for library in sorted(libraries):
        package = owner(library)
        if package not in here:
            problems.append(f"{library} comes from {package}, which the image does not install")

    script = (source / "dev.d/install.sh").read_text(encoding="utf-8")
    needs = re.search(r"needs_build\(\) \{(.*?)^\}", script, re.M | re.S)[1].replace("\\\n", " ")
    wanted = set(re.findall(r"command_from (\S+)", needs)) | set(re.search(r"packages (.*)", needs)[1].split())
    # Only a machine that builds again and again gains from a compiler cache.
    wanted.discard("ccache")
    if installed(build) != wanted:
        problems.append(f"the image is built with other packages than ./dev build: {sorted(installed(build) ^ wanted)}")
    for package in installed(final):
        if re.match(r"gcc|g\+\+|clang|cmake|make|ninja|.*-dev$|build-essential", package):
            problems.append(f"the image installs {package}")

    for line in ("USER 65532:65532", 'ENTRYPOINT ["larderd"]', "STOPSIGNAL SIGTERM", "EXPOSE 50051 50052"):
        if line + "\n" not in final:
            problems.append(f"the final stage lacks {line}")
    if not re.search(r'^HEALTHCHECK .*CMD \["larderd", "healthcheck"\]$', final, re.M):
        problems.append("the final stage lacks its HEALTHCHECK")

    version = re.search(r"project\(larder VERSION (\S+)", (source / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
    if f"newTag: {version}\n" not in (source / "k8s/base/kustomization.yaml").read_text(encoding="utf-8"):
        problems.append(f"k8s/base runs another version than {version}")

    print(f"Dockerfile: {len(libraries)} libraries, {len(problems)} problems")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
