#include "net/certs_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "config/check.h"
#include "config/digest.h"
#include "net/certs.h"
#include "net/whole_file.h"

namespace troupe {

namespace {

/// 0, or why.
int unreadable(const std::string& path) { return ::access(path.c_str(), R_OK) == 0 ? 0 : errno; }

}  // namespace

std::string cluster_secret_file(const std::string& folder) { return folder + "/cluster.secret"; }

Result<Digest> read_cluster_secret(const std::string& folder) {
  const std::string path = cluster_secret_file(folder);
  errno = 0;
  std::ifstream in(path);
  std::string text;
  if (!in)
    return fail(
        ErrorCode::not_found,
        fmt::format("{} can't be read ({}); copy it from the folder of the CA, where troupe "
                    "certs issue makes it",
                    path, std::strerror(errno)),
        "security.certs");
  std::getline(in, text);
  auto secret = digest_from_hex(text);
  OPENSSL_cleanse(text.data(), text.size());
  if (!secret)
    return fail(
        ErrorCode::data_loss,
        fmt::format("{} is damaged: it is not one line of 64 hex digits; copy it again from the "
                    "folder of the CA",
                    path),
        "security.certs");
  return *secret;
}

Result<void> ensure_cluster_secret(const std::string& folder) {
  const std::string path = cluster_secret_file(folder);
  if (std::filesystem::exists(std::filesystem::symlink_status(path))) {
    if (auto there = read_cluster_secret(folder); !there) return std::unexpected(there.error());
    return {};
  }
  Digest secret;
  TROUPE_CHECK(RAND_bytes(secret.data(), static_cast<int>(secret.size())) == 1);
  std::string text = to_hex(secret) + "\n";
  const int error = write_whole_file(path, text, 0600, IfThere::refuse);
  OPENSSL_cleanse(text.data(), text.size());
  if (error == 0) return {};
  return fail(ErrorCode::permission_denied,
              fmt::format("{} can't be written ({}); choose another folder with --dir", path,
                          std::strerror(error)));
}

Result<void> check_node_files(const std::string& folder, const std::vector<std::string>& nodes) {
  if (folder.empty())
    return fail(ErrorCode::invalid_argument,
                "several nodes need security.certs in the config; make the folder with troupe "
                "certs init and troupe certs issue",
                "security.certs");
  auto missing = [](const std::string& path, int error, const std::string& how) {
    return fail(ErrorCode::not_found,
                fmt::format("{} can't be read ({}); {}", path, std::strerror(error), how),
                "security.certs");
  };
  auto issue = [&](const std::vector<std::string>& names) {
    return fmt::format("troupe certs issue {} --dir {}", fmt::join(names, " "), folder);
  };
  const std::string ca = ca_files(folder).certificate;
  if (const int error = unreadable(ca))
    return missing(
        ca, error,
        fmt::format("troupe certs init --dir {} && {} makes what is needed", folder, issue(nodes)));
  std::vector<std::string> without;  // nodes that lack something
  std::string first;
  int first_error = 0;
  for (const std::string& node : nodes) {
    const CertificateFiles files = node_files(folder, node);
    for (const std::string& path : {files.certificate, files.key}) {
      const int error = unreadable(path);
      if (error == 0 || (!without.empty() && without.back() == node)) continue;
      if (without.empty()) first = path, first_error = error;
      without.push_back(node);
    }
  }
  if (!without.empty()) return missing(first, first_error, issue(without) + " makes it");
  if (auto secret = read_cluster_secret(folder); !secret) return std::unexpected(secret.error());
  return {};
}

}  // namespace troupe
