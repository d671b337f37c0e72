"""Checks what no schema can check: that docker-compose.yml, k8s/ and the code agree.

consistency.py ROOT COMPOSE K8S

ROOT is the checkout. COMPOSE is the output of `docker compose config --format json`, and K8S that of `kubectl kustomize`.
Prints every contradiction; exits with 1 if there are any.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

CLI = "cli"
LOOPBACK = "127.0.0.1"
# Settings of the template of server.properties that the containers set differently, as docker-compose.yml explains.
KAFKA_DIFFERS = {"listeners", "controller.quorum.voters", "log.dirs"}
# The variables with which an image's start script replaces its own JVM options. Every other variable adds to those options.
JVM_OPTIONS = {
    "apache/kafka": {"KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"},
    "apicurio/apicurio-registry": {"JAVA_OPTS"},
}

problems = []


def problem(where, what):
    problems.append(f"{where}: {what}")


# --- Settings that the code reads -------------------------------------------------------------------------------------

# read.required("NAME", …), read.or::<T>("NAME", …), read.optional(NAME, …), also over several lines
READ = re.compile(r'\.\s*(required|or|optional)\s*(?:::<[^()]*>)?\s*\(\s*(?:"([A-Z][A-Z0-9_]*)"|([A-Z][A-Z0-9_]*)\s*,)')
# fn key(read: &mut Reader, name: &'static str, …) { … read.required(name, …) … }: reads the name that is its argument.
READER = re.compile(
    r"fn\s+(\w+)\(\s*read: &mut Reader,\s*name: &'static str\b(?:(?!\nfn ).)*?"
    r"read\s*\.\s*(required|or|optional)\s*(?:::<[^()]*>)?\s*\(\s*name\b",
    re.DOTALL,
)
CONSTANT = re.compile(r'const\s+([A-Z0-9_]+)\s*:\s*&(?:\'static\s+)?str\s*=\s*"([A-Z0-9_]+)"')
CLAP = re.compile(r'\benv\s*=\s*"([A-Z][A-Z0-9_]*)"')


def sources(folder):
    """Yields the code of a crate's library and service, without tests and comments."""
    for path in sorted((folder / "src").rglob("*.rs")):
        if {"bin", "tests"} & set(path.relative_to(folder).parts) or path.name == "tests.rs":
            continue
        code = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
        yield "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("//"))


def settings(root, folder):
    """Returns the variables that a package and its dependencies in the workspace read: name -> True if it is required."""
    found = {}
    crates = {path.parent.name: path.parent for path in root.glob("crates/*/Cargo.toml")}
    todo, seen = [folder], set()
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        dependencies = tomllib.loads((package / "Cargo.toml").read_text()).get("dependencies", {})
        todo += [crates[name] for name in dependencies if name in crates]
        for code in sources(package):
            constants = dict(CONSTANT.findall(code))
            for reader, kind in READER.findall(code):
                calls = re.findall(rf'(?<!fn )\b{reader}\(\s*read,\s*"([A-Z][A-Z0-9_]*)"', code)
                found |= {name: found.get(name, False) or kind == "required" for name in calls}
            for kind, name, constant in READ.findall(code):
                name = name or constants.get(constant)
                if name:
                    found[name] = found.get(name, False) or kind == "required"
    return found


def arguments(folder):
    """Returns the variables that a command accepts as arguments. Which of them are required depends on the subcommand."""
    return {name: False for code in sources(folder) for name in CLAP.findall(code)}


def check_variables(where, given, known):
    """Compares variables that are set with those that are read. `given`: name -> value, or None if only the cluster has it."""
    for name in sorted(set(given) - set(known)):
        problem(where, f"sets {name}, which nothing reads")
    for name in sorted(name for name, required in known.items() if required):
        if name not in given or given[name] == "":
            problem(where, f"does not set {name}, which is required")


def seconds(text):
    """Parses a duration as `docker compose config` prints it, for example 2m0s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


# --- docker-compose.yml -----------------------------------------------------------------------------------------------


def rollcall_package(image):
    """Returns the service in an image of Rollcall, or None for a third-party image."""
    name = image.split(":")[0]
    return name.removeprefix("rollcall/") if name.startswith("rollcall/") else None


def check_compose(root, compose, packages, image_env, shutdown):
    services = compose["services"]
    for name, service in services.items():
        where = f"docker-compose.yml, {name}"
        package = rollcall_package(service["image"])
        if "container_name" in service:
            problem(where, "has a container_name, so it cannot be scaled")
        for port in service.get("ports", []):
            if port.get("host_ip") != LOOPBACK:
                problem(where, f"publishes port {port['target']} beyond {LOOPBACK}")
            if not port.get("published", "").isdigit():
                problem(where, f"publishes port {port['target']} on no fixed port, so a recreated container may move")
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not Path(volume["source"]).is_file():
                problem(where, f"mounts {volume['source']}, which does not exist")
        if not package:
            if service["image"].partition(":")[2] in ("", "latest"):
                problem(where, f"uses {service['image']} without a version")
            if "healthcheck" not in service:
                problem(where, "has no health check")
            check_jvm(where, service)
            continue
        if service.get("build", {}).get("args", {}).get("SERVICE") != package:
            problem(where, f"the build argument SERVICE is not {package}")
        if package not in packages:
            problem(where, f"the package {package} does not exist")
            continue
        if package == CLI:
            check_variables(where, service.get("environment", {}), packages[CLI])
        else:
            check_variables(where, image_env | service.get("environment", {}), packages[package])
            if seconds(service.get("stop_grace_period", "10s")) <= shutdown:
                problem(where, f"the grace period is not longer than the drain, {shutdown} s")
    for package in packages:
        for name in [package, f"{package}-migrate"] if package != CLI else ["init"]:
            if name not in services:
                problem("docker-compose.yml", f"the service {name} is missing")
    check_kafka(root, services["kafka"]["environment"])
    check_addresses(services)
    scraped = yaml.safe_load((root / "deploy/compose/prometheus.yml").read_text())["scrape_configs"][0]
    names = set(scraped["dns_sd_configs"][0]["names"])
    if names != set(packages) - {CLI}:
        problem("deploy/compose/prometheus.yml", f"scrapes {sorted(names)}, which are not the services")


def check_jvm(where, service):
    """Checks that JVM options replace those of the image, because a JVM does not start with two garbage collectors."""
    image = service["image"].partition(":")[0]
    replacing = JVM_OPTIONS.get(image, set())
    collectors = []
    for name, value in service.get("environment", {}).items():
        options = [word for word in (value or "").split() if word.startswith("-X")]
        if options and name not in replacing:
            allowed = " or ".join(sorted(replacing)) or "none"
            problem(where, f"sets JVM options in {name}, which adds to those of {image}; set them in: {allowed}")
        collectors += [option for option in options if re.fullmatch(r"-XX:\+Use\w+GC", option)]
    if len(collectors) > 1:
        problem(where, f"sets {len(collectors)} garbage collectors: {' '.join(collectors)}")


def check_addresses(services):
    """Checks that the addresses that containers announce are those that docker-compose.yml publishes."""
    announced = {
        "gateway": ("http", services["notification"]["environment"]["PUBLIC_URL"]),
        "kafka": ("HOST", services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]),
    }
    for name, (scheme, addresses) in announced.items():
        for port in services[name]["ports"]:
            address = f"{scheme}://{LOOPBACK}:{port.get('published')}"
            if address not in addresses.split(","):
                problem(f"docker-compose.yml, {name}", f"is published at {address}, but announced at {addresses}")


def check_kafka(root, environment):
    template = {}
    for line in (root / "deploy/kafka/server.properties.template").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            template[name] = value
    for name in sorted(set(template) - KAFKA_DIFFERS):
        variable = "KAFKA_" + name.upper().replace(".", "_")
        if environment.get(variable) != template[name]:
            problem("docker-compose.yml, kafka", f"{variable} is not {template[name]}, as in server.properties.template")


# --- k8s/ -------------------------------------------------------------------------------------------------------------


def check_k8s(objects, packages, image_env, shutdown, readme):
    maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    names = {kind: {o["metadata"]["name"] for o in objects if o["kind"] == kind} for kind in {o["kind"] for o in objects}}
    for package in set(packages) - {CLI}:
        for kind in ["Deployment", "Service", "PodDisruptionBudget"]:
            if package not in names.get(kind, ()):
                problem("k8s", f"the {kind} {package} is missing")
    for o in objects:
        if o["kind"] not in ("Deployment", "Job"):
            continue
        where = f"k8s, {o['kind']} {o['metadata']['name']}"
        pod = o["spec"]["template"]["spec"]
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            problem(where, "the pod is not restricted")
        if o["kind"] == "Deployment" and pod.get("terminationGracePeriodSeconds", 30) <= shutdown:
            problem(where, f"the grace period is not longer than the drain, {shutdown} s")
        for container in pod.get("initContainers", []) + pod["containers"]:
            check_container(f"{where}, {container['name']}", container, packages, maps, image_env)
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                if secret and f"| `{secret['name']}` | `{secret['key']}` |" not in readme:
                    problem(where, f"k8s/README.md has no row for {secret['key']} of the secret {secret['name']}")
        if o["kind"] == "Deployment":
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
                if probe not in pod["containers"][0]:
                    problem(where, f"has no {probe}")


def check_container(where, container, packages, maps, image_env):
    security = container.get("securityContext", {})
    if (
        security.get("allowPrivilegeEscalation") is not False
        or security.get("readOnlyRootFilesystem") is not True
        or security.get("capabilities") != {"drop": ["ALL"]}
    ):
        problem(where, "is not restricted")
    if not {"requests", "limits"} <= set(container.get("resources", {})):
        problem(where, "has no resources")
    package = rollcall_package(container["image"])
    if package not in packages:
        problem(where, f"runs {container['image']}, which is not an image of Rollcall")
        return
    given = {}
    for source in container.get("envFrom", []):
        name = source["configMapRef"]["name"]
        if name not in maps:
            problem(where, f"the ConfigMap {name} does not exist")
        given |= maps.get(name, {})
    for variable in container.get("env", []):
        value = variable.get("value")
        source = variable.get("valueFrom", {}).get("configMapKeyRef")
        if source:
            value = maps.get(source["name"], {}).get(source["key"])
            if value is None:
                problem(where, f"the ConfigMap {source['name']} has no key {source['key']}")
        given[variable["name"]] = value
    check_variables(where, given if package == CLI else image_env | given, packages[package])


# --- Main -------------------------------------------------------------------------------------------------------------


def main():
    root = Path(sys.argv[1])
    compose = json.loads(Path(sys.argv[2]).read_text())
    objects = [o for o in yaml.safe_load_all(Path(sys.argv[3]).read_text()) if o]
    packages = {path.parent.name: settings(root, path.parent) for path in sorted(root.glob("services/*/Cargo.toml"))}
    packages[CLI] = arguments(root / "crates" / CLI)
    dockerfile = (root / "Dockerfile").read_text()
    image_env = dict(re.findall(r"^ENV ([A-Z_]+)=(\S+)", dockerfile, re.MULTILINE))
    chassis = "\n".join(sources(root / "crates/chassis"))
    shutdown = int(re.search(r'"SHUTDOWN_TIMEOUT_MS",\s*"(\d+)"', chassis)[1]) / 1000
    check_compose(root, compose, packages, image_env, shutdown)
    check_k8s(objects, packages, image_env, shutdown, (root / "k8s/README.md").read_text())
    print("\n".join(problems) or f"{len(packages)} images, {len(compose['services'])} containers, {len(objects)} objects")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
