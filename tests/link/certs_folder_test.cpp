#include "net/certs_folder.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/digest.h"
#include "tests/link/link_fixture.h"

namespace troupe::testing {
namespace certs_folder_test {
namespace {

std::string bytes_of(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

Error error_of(const auto& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error();
}

}  // namespace

TEST_CASE("cluster secret: it is made with the CA, for its owner's eyes only, and differs by CA") {
  TempDir one, other;
  make_certificates(one.path(), {"n1"});
  make_certificates(other.path(), {"n1"});
  const std::string path = cluster_secret_file(one.path());
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  const std::string text = bytes_of(path);
  CHECK(text.size() == 65);
  CHECK(text.find_first_not_of("0123456789abcdef") == 64);
  const auto secret = read_cluster_secret(one.path());
  REQUIRE(secret.has_value());
  CHECK(to_hex(*secret) + "\n" == text);
  CHECK(*secret != read_cluster_secret(other.path()).value());
}

TEST_CASE("cluster secret: issuing certificates leaves it alone, and makes one for an older CA") {
  TempDir dir;
  make_certificates(dir.path(), {"n1"});
  const std::string before = bytes_of(cluster_secret_file(dir.path()));
  NodeOrder order;
  order.folder = dir.path();
  order.node = "n1";
  order.now = wall_now();
  order.if_issued = IfIssued::replace;
  REQUIRE(issue_certificate(order).has_value());
  CHECK(bytes_of(cluster_secret_file(dir.path())) == before);
  std::filesystem::remove(cluster_secret_file(dir.path()));
  REQUIRE(issue_certificate(order).has_value());
  CHECK(read_cluster_secret(dir.path()).has_value());
  CHECK(bytes_of(cluster_secret_file(dir.path())) != before);
}

TEST_CASE("cluster secret: a missing or damaged one is refused with what to do") {
  TempDir dir;
  const std::string path = cluster_secret_file(dir.path());
  Error error = error_of(read_cluster_secret(dir.path()));
  CHECK(error.code == ErrorCode::not_found);
  CHECK(error.param == "security.certs");
  CHECK(error.message == path +
                             " can't be read (No such file or directory); copy it from the folder "
                             "of the CA, where troupe certs issue makes it");
  for (const std::string& text : {std::string(), std::string("secret\n"), std::string(63, 'a'),
                                  std::string(65, 'a'), std::string(63, 'a') + "g"}) {
    std::ofstream(path) << text;
    error = error_of(read_cluster_secret(dir.path()));
    CHECK(error.code == ErrorCode::data_loss);
    CHECK(error.message == path +
                               " is damaged: it is not one line of 64 hex digits; copy it again "
                               "from the folder of the CA");
    // Made anew it would be another one than the nodes have.
    CHECK(error_of(ensure_cluster_secret(dir.path())).code == ErrorCode::data_loss);
    CHECK(bytes_of(path) == text);
  }
}

TEST_CASE("certs folder: what nodes lack is named with the command that makes it") {
  TempDir dir;
  const std::vector<std::string> nodes = {"n1", "n2", "n3"};
  const std::string certs = dir / "certs";
  auto refusal = [&] {
    const Error error = error_of(check_node_files(certs, nodes));
    CHECK(error.param == "security.certs");
    return error.message;
  };
  const std::string absent = " can't be read (No such file or directory); ";
  CHECK(refusal() == certs + "/ca.pem" + absent + "troupe certs init --dir " + certs +
                         " && troupe certs issue n1 n2 n3 --dir " + certs +
                         " makes what is needed");
  make_certificates(certs, {"n2"});
  CHECK(refusal() ==
        certs + "/n1.pem" + absent + "troupe certs issue n1 n3 --dir " + certs + " makes it");
  for (const char* node : {"n1", "n3"}) {
    NodeOrder order;
    order.folder = certs;
    order.node = node;
    order.now = wall_now();
    REQUIRE(issue_certificate(order).has_value());
  }
  CHECK(check_node_files(certs, nodes).has_value());
  std::filesystem::remove(certs + "/n2.key");
  CHECK(refusal() ==
        certs + "/n2.key" + absent + "troupe certs issue n2 --dir " + certs + " makes it");
  CHECK(check_node_files(certs, {"n1"}).has_value());
  std::filesystem::remove(cluster_secret_file(certs));
  CHECK(error_of(check_node_files(certs, {"n1"})).message.starts_with(cluster_secret_file(certs)));
  CHECK(error_of(check_node_files("", nodes)).message ==
        "several nodes need security.certs in the config; make the folder with troupe certs init "
        "and troupe certs issue");
}

}  // namespace certs_folder_test
}  // namespace troupe::testing
