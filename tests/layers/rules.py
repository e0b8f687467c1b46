"""The rules of larder's source tree that no compiler checks. Each rule takes a Tree and yields what is wrong."""

import pathlib
import re

# A folder of server/ may include itself and folders of a lower rank. Folders of one rank do not know each other.
RANKS = [
    ["base"], ["core"], ["policy", "redis"], ["memory", "tier", "origin", "journal", "bus"], ["engine"],
    ["rpc", "admin", "config"],
]
RANK = {folder: rank for rank, folders in enumerate(RANKS) for folder in folders}
MAIN_RANK = len(RANKS)

# Third-party headers: who may include them. A place that ends in *.cc means the .cc files right there alone: such a
# header must not reach others through one of ours.
THIRD_PARTY = {
    r"absl/": ["server", "client", "tests", "bench", "examples"],
    # The messages of services that larder answers, before gRPC's own headers, which begin alike.
    r"grpc/(reflection|health)/.*\.pb\.h$": ["server/rpc", "tests"],
    r"grpc(pp)?/|.*\.grpc\.pb\.h$": ["server/rpc/*.cc", "server/origin/*.cc", "client/src", "client/cli/*.cc", "client/examples",
                                     "tests", "bench"],
    r"google/protobuf/|larder/(rpc/)?v1/.*\.pb\.h$": ["server/rpc", "server/admin", "server/origin/*.cc", "client/src",
                                                      "client/cli/*.cc", "client/examples", "tests", "bench", "server/config"],
    r"larder/config/v1/.*\.pb\.h$": ["server/config", "server/*.cc", "tests/config"],
    r"larder/bench/v1/": ["bench"],
    r"yaml-cpp/": ["server/config/*.cc", "tests/config"],
    r"hiredis/": ["server/redis/*.cc", "server/tier/*.cc", "server/bus/*.cc", "tests"],
    r"rocksdb/": ["server/tier/*.cc", "server/journal/*.cc", "tests", "bench/writebehind/*.cc"],
    r"(postgresql/)?libpq": ["server/origin/*.cc", "tests", "bench/writebehind/*.cc"],
    r"sqlite3\.h$": ["server/origin/*.cc", "tests"],
    r"nghttp2/": ["server/rpc/*.cc", "tests", "bench"],
    r"nlohmann/": ["tests"],
    r"openssl/": ["server/rpc/*.cc", "server/redis/*.cc", "client/cli/*.cc", "tests", "bench"],
    r"zstd|zdict|lz4": ["server/tier/*.cc", "server/policy/*.cc", "tests"],
    r"jemalloc/": ["server/base/*.cc", "server/*.cc"],
    r"CLI/": ["server/*.cc", "client/cli"],
    r"fmt/": ["client/cli"],
    r"g(test|mock)/": ["tests"],
    r"benchmark/": ["bench"],
}
# Headers of the system, with a slash in their name.
SYSTEM = re.compile(r"(sys|arpa|net|netinet|linux)/[a-z_0-9]+\.h$")

CODE = ("server", "client", "tests", "bench", "examples")
TEXT_SUFFIXES = {
    ".h", ".cc", ".py", ".js", ".mjs", ".go", ".java", ".rb", ".sh", ".proto", ".yaml", ".yml", ".md", ".txt", ".cmake", ".json", ".xml", "",
}
SKIPPED = {".git", "build", "node_modules", "__pycache__"}
LINES_MAX = 400

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.M)
# Written in two parts, so that this file passes its own rules.
UNFINISHED = re.compile(r"\b(" + "TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
NOT_RUN = re.compile(r"\bDISABLED" + r"_\w|\bGTEST" + r"_SKIP\b|@unittest\.skip|\bpytest\.(skip|mark\.skip)")
# A test waits on an event or advances a clock. Where neither can be had, as with another process, a comment on the line or
# above it says why.
SLEEP = re.compile(r"\b(sleep_for|sleep_until|SleepFor|usleep|nanosleep)\s*\(|(?<![\w.:>])sleep\s*\(\d")
REASON = re.compile(r"// \w+ \w+")


class Tree:
    """The files of a source tree by their paths, with text; of others, such as pictures, the paths."""

    def __init__(self, texts, executables=(), others=()):
        self.texts = texts
        self.executables = set(executables)
        self.others = set(others)
        self.folders = {str(parent) for path in texts for parent in pathlib.PurePosixPath(path).parents}

    @staticmethod
    def read(root):
        root = pathlib.Path(root)
        texts, executables, others = {}, [], []
        pending = [root]
        while pending:
            for path in sorted(pending.pop().iterdir()):
                if path.name in SKIPPED or path.is_symlink():
                    continue
                if path.is_dir():
                    pending.append(path)
                    continue
                name = path.relative_to(root).as_posix()
                if path.suffix in TEXT_SUFFIXES:
                    try:
                        texts[name] = path.read_text(encoding="utf-8")
                    except UnicodeDecodeError:
                        continue
                    if path.stat().st_mode & 0o100:
                        executables.append(name)
                else:
                    others.append(name)
        return Tree(texts, executables, others)

    def cpp(self, *folders):
        """(path, text) of the C++ files under these folders."""
        for path, text in self.texts.items():
            if path.endswith((".h", ".cc")) and path.split("/")[0] in (folders or CODE):
                yield path, text


def folder_of(path):
    """The layer that a file of server/ belongs to: its folder, or main for the files beside main.cc."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else "main"


def rank_of(folder):
    return MAIN_RANK if folder == "main" else RANK.get(folder)


def includes(text):
    return INCLUDE.findall(text)


def calls_go_down(tree):
    for path, text in tree.cpp("server"):
        folder = folder_of(path)
        if rank_of(folder) is None:
            yield f"{path}: server/{folder} is no layer; the layers are {' < '.join('|'.join(r) for r in RANKS)}"
            continue
        for header in includes(text):
            target = header.split("/")[0] if "/" in header else "main"
            ours = f"server/{header}" in tree.texts or target in RANK
            if ours and target != folder and RANK.get(target, MAIN_RANK) >= rank_of(folder):
                yield f"{path}: {folder} must not include {header}"


def client_and_server_are_strangers(tree):
    for path, text in tree.cpp("server", "client"):
        for header in includes(text):
            if path.startswith("client/") and (f"server/{header}" in tree.texts or header.startswith("server/")):
                yield f"{path}: the client must not include the server's {header}"
            if path.startswith("server/") and (f"client/include/{header}" in tree.texts or f"client/{header}" in tree.texts):
                yield f"{path}: the server must not include the client's {header}"


def is_own(tree, path, header):
    """Whether the header is one of ours: in a layer, below another include root, or beside the file."""
    beside = (pathlib.PurePosixPath(path).parent / header).as_posix()
    if header.split("/")[0] in RANK:
        return True
    return any(name in tree.texts for name in (f"server/{header}", f"client/include/{header}", f"client/{header}", header, beside))


def matches_place(path, place):
    if place.endswith("/*.cc"):
        return path.rsplit("/", 1)[0] == place.rsplit("/", 1)[0] and path.endswith(".cc")
    return path == place or path.startswith(place + "/")


def third_party_stays_where_it_belongs(tree):
    for path, text in tree.cpp():
        for header in includes(text):
            places = next((places for pattern, places in THIRD_PARTY.items() if re.match(pattern, header)), None)
            if places is not None:
                if not any(matches_place(path, place) for place in places):
                    yield f"{path}: {header} belongs in {', '.join(places)}"
            elif is_own(tree, path, header) or SYSTEM.match(header):
                continue
            elif "/" in header:
                yield f"{path}: nothing says who may include {header}; tests/layers/rules.py decides"


def public_headers_hide_grpc(tree):
    for path, text in tree.cpp("client"):
        if path.startswith("client/include/"):
            for header in includes(text):
                if re.search(r"grpc|protobuf|\.pb\.h$", header):
                    yield f"{path}: a public header of the client includes {header}"
                elif not header.startswith(("larder/", "absl/")) and "/" in header:
                    yield f"{path}: a public header of the client includes {header}, which users may not have"


def headers_have_guard_and_contract(tree):
    for path, text in tree.cpp():
        if not path.endswith(".h"):
            continue
        name = re.sub(r"^(server|client/include/larder)/", "", path)
        guard = "LARDER_" + re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_"
        if f"#ifndef {guard}\n#define {guard}\n" not in text or not text.endswith(f"#endif  // {guard}\n"):
            yield f"{path}: the guard is not {guard}"
        if not text.startswith("// "):
            yield f"{path}: a header begins with its contract"


def tests_run(tree):
    for path, text in tree.texts.items():
        if path.startswith("tests/") and not path.startswith("tests/layers/"):
            above = ""
            for number, line in enumerate(text.splitlines(), 1):
                if NOT_RUN.search(line):
                    yield f"{path}:{number}: a test that does not run"
                if path.endswith((".h", ".cc")) and SLEEP.search(line) and not REASON.search(above + line):
                    yield f"{path}:{number}: sleeps; wait on an event or advance the clock, or say beside it why neither can be"
                above = line
    registered = set(re.findall(r"^larder_script_test\((\w+)\)", tree.texts.get("tests/CMakeLists.txt", ""), re.M))
    registered |= set(re.findall(r"^\s*larder_tests\((\w+)", tree.texts.get("tests/CMakeLists.txt", ""), re.M))
    for folder in sorted(f for f in tree.folders if re.fullmatch(r"tests/\w+", f)):
        name = folder.split("/")[1]
        if name not in registered and any(p.startswith(folder + "/") and p.endswith(("/run", "_test.cc")) for p in tree.texts):
            yield f"{folder}: tests/CMakeLists.txt does not run it"
        if f"{folder}/run" in tree.texts and f"{folder}/run" not in tree.executables:
            yield f"{folder}/run: is not executable"


def nothing_is_left_unfinished(tree):
    for path, text in tree.texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            found = UNFINISHED.search(line)
            if found:
                yield f"{path}:{number}: {found[0]}"


def slug(heading):
    """The anchor that a heading of a Markdown page gets."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return {slug(h) for h in re.findall(r"^#{1,6} (.*)$", text, re.M)} | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def links_resolve(tree):
    for path, text in tree.texts.items():
        if not path.endswith(".md"):
            continue
        prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            parts = []
            for part in (pathlib.PurePosixPath(path).parent / file).parts if file else pathlib.PurePosixPath(path).parts:
                if part == ".." and parts:
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            name = "/".join(parts)
            if name not in tree.texts and name not in tree.others and name not in tree.folders and name != "":
                yield f"{path}: links to {target}, which is not there"
            elif anchor and name.endswith(".md") and anchor not in anchors(tree.texts[name]):
                yield f"{path}: links to {target}, which has no such heading"


RULES = [
    calls_go_down, client_and_server_are_strangers, third_party_stays_where_it_belongs, public_headers_hide_grpc,
    headers_have_guard_and_contract, tests_run, nothing_is_left_unfinished, links_resolve,
]


def long_files(tree):
    """(lines, path) of C++ files that are longer than they should be: to be looked at, not refused."""
    sizes = [(text.count("\n"), path) for path, text in tree.cpp()]
    return sorted((s for s in sizes if s[0] > LINES_MAX), reverse=True)
