"""API keys and TLS on a running node, and what SIGHUP reads again."""

import hashlib
import http.client
import shutil
import signal
import socket
import ssl
import subprocess
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, expected, run_tests
from processes import poll
from started import BINARY, short_folder

KEYS = {"alice": "a" * 64, "bob": "b" * 64}


def key_line(name: str, role: str = "user") -> str:
    return f"{name}:{role}:{hashlib.sha256(KEYS[name].encode()).hexdigest()}\n"


def as_user(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


def certificate(folder, common_name: str):
    """Files of a new self-signed certificate."""
    cert, key = folder / f"{common_name}.pem", folder / f"{common_name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "1", "-subj", f"/CN={common_name}", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class Access(ProcessCase):
    def setUp(self):
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_keys_are_asked_for_and_read_again_on_sighup(self):
        keys = self.folder / "keys.txt"
        keys.write_text(key_line("alice"))
        with Cluster("--api-keys", str(keys)) as cluster:
            body = cluster.request("who is there", 8)

            def status(headers) -> int:
                return cluster.post("/v1/completions", body, headers=headers).status

            refused = cluster.post("/v1/completions", body)
            self.assertEqual(refused.status, 401)
            self.assertEqual(refused.json()["error"]["type"], "authentication_error")
            self.assertEqual(refused.headers["www-authenticate"], "Bearer")
            self.assertEqual(status({"Authorization": "Bearer " + "c" * 64}), 401)
            self.assertEqual([cluster.get(p).status for p in ("/v1/models", "/metrics")], [401, 401])
            self.assertEqual([cluster.get(p).status for p in ("/livez", "/readyz", "/health")], [200] * 3)
            answer = cluster.post("/v1/completions", body, headers=as_user("alice"))
            self.assertEqual((answer.status, answer.text()), (200, expected("who is there", 8)[0]))

            self.assertEqual(status(as_user("bob")), 401)
            keys.write_text(key_line("bob"))
            cluster.signal(signal.SIGHUP)
            poll("the new key counts", 5, lambda: status(as_user("bob")) == 200)
            self.assertEqual(status(as_user("alice")), 401)
            keys.write_text("this is no key file\n")
            cluster.signal(signal.SIGHUP)
            poll("the bad file is told of", 5, lambda: str(keys) in cluster.log())
            self.assertEqual(status(as_user("bob")), 200, "on an error the old keys stay")
            # A respawned router can't be worse off than the one before it.
            keys.write_text(key_line("bob"))
            before = cluster.kill("router")
            poll("router respawned", 10, lambda: cluster.successor("router", before))
            self.assertEqual((status(as_user("bob")), status(as_user("alice"))), (200, 401))
            for secret in KEYS.values():
                self.assertNotIn(secret, cluster.log())

    def test_a_router_answers_to_its_own_names_only(self):
        def refused(cluster, why: str, **headers) -> str:
            answer = cluster.get("/v1/models", headers=headers)
            self.assertEqual((answer.status, answer.json()["error"]["code"]), (403, why), headers)
            return answer.json()["error"]["message"]

        with Cluster("--allowed-host", "chat.example", "--allowed-host", "api.example:8443") as cluster:
            port = cluster.address[1]
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", "Chat.Example", "chat.example:443", "api.example:8443"):
                self.assertEqual(cluster.get("/v1/models", headers={"Host": host}).status, 200, host)
            for origin in (f"http://localhost:{port}", "https://chat.example"):
                answer = cluster.post("/v1/completions", cluster.request("a page", 4), headers={"Origin": origin})
                self.assertEqual((answer.status, answer.text()), (200, expected("a page", 4)[0]), origin)
            sentence = refused(cluster, "host_not_allowed", Host=f"evil.example:{port}")
            for word in ("evil.example", "allowed_hosts", "--allowed-host", "Host: localhost"):
                self.assertIn(word, sentence)
            refused(cluster, "host_not_allowed", Host="api.example")
            self.assertIn("allowed_hosts", refused(cluster, "origin_not_allowed", Origin="http://evil.example"))
            refused(cluster, "origin_not_allowed", Origin="null")
            with socket.create_connection(cluster.address, timeout=10) as old:
                old.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                self.assertTrue(old.makefile("rb").readline().startswith(b"HTTP/1.1 200"))

        # Where any name may lead, only pages are asked.
        with Cluster("--host", "0.0.0.0", "--insecure-http") as cluster:
            self.assertEqual(cluster.get("/v1/models", headers={"Host": "any.example"}).status, 200)
            refused(cluster, "host_not_allowed", Host="any.example", Origin="http://localhost")

    def test_a_host_that_is_none_is_refused_at_the_start(self):
        run = subprocess.run([BINARY, "serve", "--backend", "oracle", "--port", "0", "--allowed-host", "http://a.example"],
                             capture_output=True, text=True, timeout=30)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("--allowed-host: expected a host name or HOST:PORT, as chat.example", run.stderr)

    def test_tenants_do_not_share_the_response_cache(self):
        keys = self.folder / "keys.txt"
        keys.write_text(key_line("alice") + key_line("bob"))
        with Cluster("--api-keys", str(keys)) as cluster:
            body = cluster.request("a secret question", 8, temperature=0)

            def ask(name: str) -> str:
                return cluster.post("/v1/completions", body, headers=as_user(name)).headers["x-cache"]

            self.assertEqual([ask(n) for n in ("alice", "alice", "bob", "bob")],
                             ["miss", "hit-memory", "miss", "hit-memory"])

    def https(self, cluster: Cluster, trusted) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=trusted)
        connection = http.client.HTTPSConnection(*cluster.address, context=context, timeout=30)
        try:
            connection.request("GET", "/v1/models")
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def test_https_and_a_new_certificate_on_sighup(self):
        cert, key = certificate(self.folder, "first")
        with Cluster("--tls-cert", str(cert), "--tls-key", str(key)) as cluster:
            self.assertTrue(cluster.url.startswith("https://"))
            status, body = self.https(cluster, cert)
            self.assertEqual((status, b'"oracle"' in body), (200, True))
            with self.assertRaises((http.client.HTTPException, OSError)):
                cluster.get("/livez")  # plain HTTP to a TLS port

            second, second_key = certificate(self.folder, "second")
            shutil.copy(second, cert)
            shutil.copy(second_key, key)
            cluster.signal(signal.SIGHUP)

            def renewed() -> bool:
                try:
                    return self.https(cluster, second)[0] == 200
                except ssl.SSLCertVerificationError:
                    return False

            poll("the new certificate is shown", 5, renewed)


if __name__ == "__main__":
    sys.exit(run_tests())
