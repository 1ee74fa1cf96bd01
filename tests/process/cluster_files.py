"""Config and certificates of a cluster of several nodes."""

from pathlib import Path

from started import free_ports, troupe


def write_config(folder: Path, hosts: dict[str, tuple[str, int]], routers: dict[str, str], models: str, more: str = "",
                 devices: dict[str, int] | None = None) -> Path:
    """Of nodes by (host, control port) and routers by address; certificates are expected in folder/certs. `devices`: slots
    for ranks, of nodes that have more than one."""
    slots = {n: f", devices: [{', '.join(f'cpu:{i}' for i in range(count))}]" for n, count in (devices or {}).items()}
    nodes = "".join(f"  - {{name: {n}, host: {host}, control_port: {port}{slots.get(n, '')}}}\n"
                    for n, (host, port) in hosts.items())
    doors = "".join(f"  - {{node: {n}, http: {address}}}\n" for n, address in routers.items())
    path = folder / "cluster.yaml"
    path.write_text(f"cluster: demo\nnodes:\n{nodes}routers:\n{doors}models:\n  - {models}\n"
                    f"security: {{certs: certs}}\n{more}")
    return path


def on_this_host(names: list[str]) -> dict[str, tuple[str, int]]:
    """Control ports that are free now."""
    return {name: ("127.0.0.1", port) for name, port in zip(names, free_ports(len(names)), strict=True)}


def one_group_a_node(names: list[str]) -> str:
    return f"{{name: oracle, backend: oracle, groups: {len(names)}}}"


def make_certificates(folder: Path, names: list[str]) -> None:
    certs = str(folder / "certs")
    for command in (["init", "--dir", certs], ["issue", *names, "--dir", certs]):
        done = troupe("certs", *command)
        assert done.returncode == 0, done.stderr
