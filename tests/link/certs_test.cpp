// Certificates, judged by the openssl command line tool.
#include "net/certs.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "tests/link/link_fixture.h"

namespace troupe::testing {
namespace certs_test {
namespace {

struct Ran {
  std::string output;
  int status = -1;
};

Ran openssl(const std::string& arguments) {
  Ran ran;
  FILE* pipe = ::popen(("openssl " + arguments + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  while (const size_t got = std::fread(buffer, 1, sizeof buffer, pipe))
    ran.output.append(buffer, got);
  ran.status = ::pclose(pipe);
  return ran;
}

NodeOrder order_for(const TempDir& dir, const std::string& node) {
  NodeOrder order;
  order.folder = dir.path();
  order.node = node;
  order.now = wall_now();
  return order;
}

void make_test_ca(const TempDir& dir) {
  CaOrder order;
  order.folder = dir.path();
  order.cluster = "demo";
  order.now = wall_now();
  REQUIRE(make_ca(order).has_value());
}

int mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return static_cast<int>(info.st_mode & 0777);
}

std::string bytes_of(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("certs: openssl verifies a node's certificate for both ends, and no other name or CA") {
  TempDir dir, other;
  make_test_ca(dir);
  make_test_ca(other);
  NodeOrder order = order_for(dir, "n1");
  order.hosts = {"n1.example.org", "10.0.0.1", "fd00::1"};
  const auto files = issue_certificate(order);
  REQUIRE(files.has_value());
  CHECK(*files == CertificateFiles{dir / "n1.pem", dir / "n1.key"});
  const std::string verify = "verify -x509_strict -CAfile " + (dir / "ca.pem") + " ";
  CHECK(openssl(verify + "-purpose sslserver -verify_hostname n1 " + files->certificate).status ==
        0);
  CHECK(openssl(verify + "-purpose sslclient " + files->certificate).status == 0);
  CHECK(openssl(verify + "-verify_hostname n1.example.org " + files->certificate).status == 0);
  CHECK(openssl(verify + "-verify_ip fd00::1 " + files->certificate).status == 0);
  CHECK(openssl(verify + "-verify_hostname n2 " + files->certificate).status != 0);
  CHECK(openssl("verify -CAfile " + (other / "ca.pem") + " " + files->certificate).status != 0);

  const std::string shown = openssl("x509 -noout -text -in " + files->certificate).output;
  CHECK(
      has(shown, "DNS:n1, DNS:n1.example.org, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1"));
  CHECK(has(shown, "ASN1 OID: prime256v1"));
  CHECK(has(shown, "ecdsa-with-SHA256"));
  CHECK(has(shown, "CA:FALSE"));
  CHECK(has(shown, "TLS Web Server Authentication, TLS Web Client Authentication"));
  CHECK(has(shown, "O = demo, CN = n1"));
  CHECK(has(openssl("x509 -noout -text -in " + (dir / "ca.pem")).output, "CA:TRUE, pathlen:0"));
  // The key is the certificate's, and a P-256 one.
  const std::string from_key = openssl("pkey -pubout -in " + files->key).output;
  CHECK(from_key == openssl("x509 -noout -pubkey -in " + files->certificate).output);
  CHECK(has(openssl("pkey -noout -text -in " + (dir / "ca.key")).output, "prime256v1"));
}

TEST_CASE("certs: node certificates last 90 days, the CA ten years, and both began an hour ago") {
  TempDir dir;
  make_test_ca(dir);
  REQUIRE(issue_certificate(order_for(dir, "n1")).has_value());
  auto ends_within = [&](const std::string& file, int64_t seconds) {
    return openssl("x509 -noout -checkend " + std::to_string(seconds) + " -in " + (dir / file))
               .status != 0;
  };
  constexpr int64_t kDay = 86'400, kSlack = 600;
  CHECK(ends_within("n1.pem", 90 * kDay + kSlack));
  CHECK_FALSE(ends_within("n1.pem", 90 * kDay - kSlack));
  CHECK(ends_within("ca.pem", 3'650 * kDay + kSlack));
  CHECK_FALSE(ends_within("ca.pem", 3'650 * kDay - kSlack));
  // 30 minutes ago it was valid already, 2 hours ago not.
  const auto now = std::chrono::system_clock::to_time_t(wall_now());
  auto valid_at = [&](int64_t at) {
    return openssl("verify -attime " + std::to_string(at) + " -CAfile " + (dir / "ca.pem") + " " +
                   (dir / "n1.pem"))
               .status == 0;
  };
  CHECK(valid_at(now - 1'800));
  CHECK_FALSE(valid_at(now - 7'200));
}

TEST_CASE("certs: one that lasts 0 days has expired, and openssl says so") {
  TempDir dir;
  make_test_ca(dir);
  NodeOrder order = order_for(dir, "n1");
  order.days = 0;
  order.now -= std::chrono::seconds(2);
  REQUIRE(issue_certificate(order).has_value());
  const Ran ran = openssl("verify -CAfile " + (dir / "ca.pem") + " " + (dir / "n1.pem"));
  CHECK(ran.status != 0);
  CHECK(has(ran.output, "certificate has expired"));
}

TEST_CASE("certs: keys are readable by their owner only, a new folder too") {
  TempDir dir;
  CaOrder order;
  order.folder = dir / "deep/certs";
  order.now = wall_now();
  REQUIRE(make_ca(order).has_value());
  NodeOrder node = order_for(dir, "n1");
  node.folder = order.folder;
  REQUIRE(issue_certificate(node).has_value());
  CHECK(mode_of(order.folder) == 0700);
  CHECK(mode_of(order.folder + "/ca.key") == 0600);
  CHECK(mode_of(order.folder + "/n1.key") == 0600);
  CHECK(mode_of(order.folder + "/n1.pem") == 0644);
}

TEST_CASE("certs: nothing is overwritten unless asked, and the refusal says how") {
  TempDir dir;
  make_test_ca(dir);
  const std::string ca = bytes_of(dir / "ca.pem") + bytes_of(dir / "ca.key");
  CaOrder again;
  again.folder = dir.path();
  again.now = wall_now();
  const auto second = make_ca(again);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().code == ErrorCode::conflict);
  CHECK(second.error().message ==
        (dir / "ca.pem") +
            " exists, and a new CA would make every certificate of the cluster worthless; choose "
            "another --dir, or move the old files away first");
  CHECK(bytes_of(dir / "ca.pem") + bytes_of(dir / "ca.key") == ca);

  REQUIRE(issue_certificate(order_for(dir, "n1")).has_value());
  const std::string first = bytes_of(dir / "n1.pem");
  const auto refused = issue_certificate(order_for(dir, "n1"));
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::conflict);
  CHECK(refused.error().message ==
        (dir / "n1.pem") + " exists; add --replace to issue a new certificate and key for n1");
  CHECK(bytes_of(dir / "n1.pem") == first);

  NodeOrder replace = order_for(dir, "n1");
  replace.if_issued = IfIssued::replace;
  REQUIRE(issue_certificate(replace).has_value());
  CHECK(bytes_of(dir / "n1.pem") != first);
  CHECK(mode_of(dir / "n1.key") == 0600);
  CHECK(openssl("verify -CAfile " + (dir / "ca.pem") + " " + (dir / "n1.pem")).status == 0);
}

TEST_CASE("certs: bad names, hosts and days are refused with the flag at fault") {
  TempDir dir;
  make_test_ca(dir);
  auto refusal = [&](const std::function<void(NodeOrder&)>& change) {
    NodeOrder order = order_for(dir, "n1");
    change(order);
    const auto issued = issue_certificate(order);
    REQUIRE_FALSE(issued.has_value());
    return issued.error();
  };
  for (const char* name : {"", "ca", "../n1", "a b", "n1\n"}) {
    const Error error = refusal([&](NodeOrder& o) { o.node = name; });
    CHECK(error.param == "node");
    CHECK(error.message == "\"" + std::string(name) +
                               "\" is no node name; give at most 64 letters, digits, '-', '_' or "
                               "'.' (and not \"ca\")");
  }
  CHECK(refusal([](NodeOrder& o) { o.node = std::string(65, 'a'); }).param == "node");
  CHECK(refusal([](NodeOrder& o) { o.hosts = {"x,DNS:n2"}; }).message ==
        "\"x,DNS:n2\" is no host name or IP address; give --host one of them");
  CHECK(refusal([](NodeOrder& o) { o.hosts.assign(kCertificateHostsMax + 1, "h"); }).message ==
        "33 hosts are too many for one certificate; give at most 32");
  CHECK(refusal([](NodeOrder& o) { o.days = -1; }).message ==
        "a certificate can't last -1 days; give --days from 0 to 3650");
  CHECK(refusal([](NodeOrder& o) { o.days = 3651; }).param == "days");
  CHECK(refusal([&](NodeOrder& o) { o.folder = dir / "nowhere"; }).message ==
        (dir / "nowhere/ca.pem") + " can't be read; make a CA with troupe certs init first");
  CaOrder short_ca;
  short_ca.folder = dir / "short";
  short_ca.now = wall_now();
  short_ca.days = 30;
  REQUIRE(make_ca(short_ca).has_value());
  CHECK(refusal([&](NodeOrder& o) { o.folder = dir / "short"; }).message ==
        "the CA in " + (dir / "short") +
            " ends before 90 days have passed; give fewer --days, or make a new CA in another "
            "folder");
  CHECK_FALSE(std::ifstream(dir / "n1.pem").good());
}

}  // namespace certs_test
}  // namespace troupe::testing
