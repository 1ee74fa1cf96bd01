// TLS of the bridge, the command line's client and the admin port.
#include <doctest/doctest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>

#include "net/admin_server.h"
#include "net/http_client.h"
#include "tests/net/bridge_fixture.h"
#include "tests/net/raw_client.h"

namespace troupe::testing {
namespace tls_and_client_test {
namespace {

/// A self-signed certificate, as files.
void make_certificate(const std::string& certificate, const std::string& key) {
  EVP_PKEY* pair = EVP_EC_gen("P-256");
  X509* made = X509_new();
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_gmtime_adj(X509_getm_notBefore(made), -60);
  X509_gmtime_adj(X509_getm_notAfter(made), 3600);
  X509_set_pubkey(made, pair);
  X509_NAME* name = X509_get_subject_name(made);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(made, name);
  X509_sign(made, pair, EVP_sha256());
  FILE* file = std::fopen(certificate.c_str(), "w");
  PEM_write_X509(file, made);
  std::fclose(file);
  file = std::fopen(key.c_str(), "w");
  PEM_write_PrivateKey(file, pair, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(made);
  EVP_PKEY_free(pair);
}

BridgeConfig tls_config() {
  BridgeConfig config;
  config.tls_certificate = std::string(TROUPE_BINARY_DIR) + "/net_test_cert.pem";
  config.tls_key = std::string(TROUPE_BINARY_DIR) + "/net_test_key.pem";
  make_certificate(config.tls_certificate, config.tls_key);
  return config;
}

std::string url(uint16_t port) { return "http://127.0.0.1:" + std::to_string(port); }

}  // namespace

TEST_CASE("tls: requests, streams and keep-alive work as in the clear") {
  TestBridge server(tls_config());
  RawClient client = RawClient::with_tls(server.port());
  REQUIRE(client.connected());
  CHECK(client.tls_version() == "TLSv1.3");
  for (int i = 0; i < 3; ++i) {
    client.send(get("/v1/models"));
    CHECK(client.read_answer().status == 200);
  }
  client.send(post("/v1/completions", R"({"prompt":"a","max_tokens":1000,"stream":true})"));
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 200);
  CHECK(answer.body.ends_with("data: [DONE]\n\n"));
  const std::string large(300'000, 'z');  // many TLS records each way
  client.send(post("/v1/tokenize", R"({"prompt":")" + large + R"("})"));
  CHECK(client.read_answer().body.size() > large.size());
}

TEST_CASE("tls: plain HTTP on the TLS port is cut, and the server goes on") {
  TestBridge server(tls_config());
  RawClient plain(server.port());
  plain.send(get("/v1/models"));
  CHECK(plain.at_end());
  RawClient client = RawClient::with_tls(server.port());
  client.send(get("/livez"));
  CHECK(client.read_answer().status == 200);
}

TEST_CASE("tls: a certificate that is not there is refused in one sentence") {
  Listener listener;
  TestSink sink;
  BridgeConfig config;
  config.listener = listener.fd;
  config.tls_certificate = "/nonexistent/cert.pem";
  config.tls_key = "/nonexistent/key.pem";
  const auto started = Bridge::start(config, sink);
  REQUIRE_FALSE(started.has_value());
  CHECK(started.error().message ==
        "/nonexistent/cert.pem: no PEM certificate can be read from it; give a certificate chain "
        "file");
}

TEST_CASE("http client: calls, streams and errors in one sentence") {
  TestBridge server;
  const auto client = HttpClient::make(url(server.port()));
  REQUIRE(client.has_value());
  const auto models = client->get("/v1/models", 5s);
  REQUIRE(models.has_value());
  CHECK(models->status == 200);
  CHECK(models->body.find("oracle") != std::string::npos);

  std::vector<std::string> events;
  const auto stream =
      client->stream("/v1/completions", R"({"prompt":"a","max_tokens":3,"stream":true})", 5s,
                     [&](std::string_view data) {
                       events.emplace_back(data);
                       return true;
                     });
  REQUIRE(stream.has_value());
  REQUIRE(events.size() == 4);  // three tokens and the finish
  CHECK(events[0].find(R"("text":" tok")") != std::string::npos);

  const auto bad = client->stream("/v1/completions", "{}", 5s, [](std::string_view) {
    FAIL("no event");
    return true;
  });
  REQUIRE(bad.has_value());
  CHECK(bad->status == 400);
  CHECK(bad->body.find("`prompt` is missing") != std::string::npos);

  Listener silent;  // accepts in the backlog, never answers
  const auto late = HttpClient::make(url(silent.port))->get("/", 100ms);
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
}

TEST_CASE("admin port: an empty token is refused, it would let everybody in") {
  Listener listener;
  const auto admin = AdminServer::start({.listener = listener.fd});
  REQUIRE_FALSE(admin.has_value());
  CHECK(admin.error().message.starts_with("The admin token must be 64 hex digits"));
}

TEST_CASE("admin port: the page is open, the tree needs the token, strangers' names are refused") {
  Listener listener;
  const std::string token = std::string(32, 'a') + std::string(32, '7');
  AdminConfig config;
  config.listener = listener.fd;
  config.token = token;
  config.tree = [] { return R"({"cluster":"c","nodes":[]})"; };
  config.actor = [](std::string id) { return id == "n1/shard/m.0.0" ? R"({"id":"n1"})" : ""; };
  config.metrics = [] { return "# HELP a b\n"; };
  auto admin = AdminServer::start(config);
  REQUIRE(admin.has_value());
  RawClient client(listener.port);
  auto status = [&](const std::string& request) {
    client.send(request);
    return client.read_answer();
  };
  const std::string bearer = "Authorization: Bearer " + token + "\r\n";
  const RawAnswer page = status(get("/"));
  CHECK(page.status == 200);
  CHECK(page.headers.at("content-security-policy").starts_with("default-src 'self'"));
  CHECK(page.body.find("innerHTML") == std::string::npos);
  CHECK(status(get("/livez")).status == 200);
  CHECK(status(get("/admin/tree")).status == 401);
  CHECK(
      status(get("/admin/tree", "Authorization: Bearer " + std::string(64, '0') + "\r\n")).status ==
      401);
  CHECK(status(get("/metrics")).status == 401);
  CHECK(status(get("/admin/tree", bearer)).body == R"({"cluster":"c","nodes":[]})");
  CHECK(status(get("/metrics", bearer)).status == 200);
  CHECK(status(get("/admin/actors/n1/shard/m.0.0", bearer)).status == 200);
  CHECK(status(get("/admin/actors/n1", bearer)).status == 404);
  CHECK(status(post("/admin/tree", "{}", bearer)).status == 405);
  CHECK(status(get("/admin/tree", bearer + "Origin: http://evil.example\r\n")).status == 403);
  CHECK(status("GET /admin/tree HTTP/1.1\r\nHost: evil.example\r\n" + bearer + "\r\n").status ==
        403);
  CHECK(status("GET /admin/tree HTTP/1.1\r\n" + bearer + "\r\n").status == 403);
}

}  // namespace tls_and_client_test
}  // namespace troupe::testing
