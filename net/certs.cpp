#include "net/certs.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/check.h"
#include "net/certs_folder.h"
#include "net/openssl_types.h"

namespace troupe {

namespace {

using namespace openssl;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_ip_address(const std::string& text) {
  unsigned char raw[16];
  return inet_pton(AF_INET, text.c_str(), raw) == 1 || inet_pton(AF_INET6, text.c_str(), raw) == 1;
}

bool is_host_name(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::ranges::all_of(text, [](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '.';
  });
}

std::unexpected<Error> cannot_write(const std::string& path, int error) {
  return fail(ErrorCode::permission_denied,
              fmt::format("{} can't be written ({}); choose another folder with --dir", path,
                          std::strerror(error)));
}

Result<void> write_file(const std::string& path, const std::string& bytes, mode_t mode,
                        IfIssued if_there) {
  if (const int error = write_whole_file(path, bytes, mode, if_there); error != 0)
    return cannot_write(path, error);
  return {};
}

Result<void> make_folder(const std::string& folder) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(folder).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return cannot_write(folder, errno);
  return {};
}

std::string pem_of(X509* certificate) {
  Bio bio(BIO_new(BIO_s_mem()));
  TROUPE_CHECK(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  Bio bio(BIO_new(BIO_s_mem()));
  TROUPE_CHECK(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) ==
               1);
  std::string text = text_of(bio.get());
  char* data = nullptr;  // the key's text in OpenSSL's own memory is wiped
  const long size = BIO_get_mem_data(bio.get(), &data);
  if (size > 0) OPENSSL_cleanse(data, static_cast<size_t>(size));
  return text;
}

struct Issuer {
  X509* certificate = nullptr;  ///< null: self-signed
  EVP_PKEY* key = nullptr;
};

void add_extension(X509* certificate, const Issuer& issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer.certificate ? issuer.certificate : certificate, certificate,
                 nullptr, nullptr, 0);
  Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  TROUPE_CHECK(extension && X509_add_ext(certificate, extension.get(), -1) == 1, nid);
}

void set_name(X509_NAME* name, const std::string& cluster, const std::string& common) {
  auto add = [name](const char* field, const std::string& value) {
    TROUPE_CHECK(X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC,
                                            reinterpret_cast<const unsigned char*>(value.data()),
                                            static_cast<int>(value.size()), -1, 0) == 1,
                 field, value);
  };
  add("O", cluster);
  add("CN", common);
}

/// Version, a serial number nobody can foretell, validity, subject and key; not yet signed.
Certificate begin(EVP_PKEY* key, WallTime now, int days, const std::string& cluster,
                  const std::string& common) {
  Certificate certificate(X509_new());
  Number serial(BN_new());
  TROUPE_CHECK(certificate && serial);
  TROUPE_CHECK(BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1);
  TROUPE_CHECK(BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())));
  const auto backdate = std::chrono::duration_cast<std::chrono::seconds>(kCertificateBackdate);
  const std::time_t from = std::chrono::system_clock::to_time_t(now - backdate);
  const std::time_t to = std::chrono::system_clock::to_time_t(now + std::chrono::days(days));
  TROUPE_CHECK(X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  TROUPE_CHECK(ASN1_TIME_set(X509_getm_notBefore(certificate.get()), from) &&
               ASN1_TIME_set(X509_getm_notAfter(certificate.get()), to));
  TROUPE_CHECK(X509_set_pubkey(certificate.get(), key) == 1);
  set_name(X509_get_subject_name(certificate.get()), cluster, common);
  return certificate;
}

Result<Names> subject_names(const NodeOrder& order) {
  Names names(GENERAL_NAMES_new());
  auto add = [&names](int type, const std::string& value) {
    GENERAL_NAME* name = a2i_GENERAL_NAME(nullptr, nullptr, nullptr, type, value.c_str(), 0);
    TROUPE_CHECK(name && sk_GENERAL_NAME_push(names.get(), name) > 0, value);
  };
  add(GEN_DNS, order.node);
  if (order.hosts.size() > kCertificateHostsMax)
    return fail(ErrorCode::too_large,
                fmt::format("{} hosts are too many for one certificate; give at most {}",
                            order.hosts.size(), kCertificateHostsMax),
                "host");
  for (const std::string& host : order.hosts) {
    if (is_ip_address(host))
      add(GEN_IPADD, host);
    else if (is_host_name(host))
      add(GEN_DNS, host);
    else
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("\"{}\" is no host name or IP address; give --host one of them", host),
          "host");
  }
  return names;
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    return fail(ErrorCode::not_found,
                fmt::format("{} can't be read; make a CA with troupe certs init first", path));
  return text.str();
}

struct Ca {
  Certificate certificate;
  Key key;
  std::string cluster;
};

Result<Ca> load_ca(const std::string& folder) {
  const CertificateFiles files = ca_files(folder);
  auto certificate = read_file(files.certificate);
  if (!certificate) return std::unexpected(certificate.error());
  auto key = read_file(files.key);
  if (!key) return std::unexpected(key.error());
  Ca ca;
  Bio from(BIO_new_mem_buf(certificate->data(), static_cast<int>(certificate->size())));
  ca.certificate.reset(PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr));
  Bio key_from(BIO_new_mem_buf(key->data(), static_cast<int>(key->size())));
  // An empty passphrase, so that an encrypted key is refused instead of asked for.
  char none[] = "";
  ca.key.reset(PEM_read_bio_PrivateKey(key_from.get(), nullptr, nullptr, none));
  OPENSSL_cleanse(key->data(), key->size());
  ERR_clear_error();
  if (!ca.certificate || !ca.key || X509_check_private_key(ca.certificate.get(), ca.key.get()) != 1)
    return fail(ErrorCode::data_loss,
                fmt::format("{} and {} are not a certificate and its key; restore them or make a "
                            "new CA in another folder",
                            files.certificate, files.key));
  char cluster[65] = {};
  X509_NAME_get_text_by_NID(X509_get_subject_name(ca.certificate.get()), NID_organizationName,
                            cluster, sizeof cluster);
  ca.cluster = *cluster ? cluster : "troupe";
  ERR_clear_error();
  return ca;
}

Result<void> check_days(int days, int days_min) {
  if (days >= days_min && days <= kCertificateDaysMax) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("a certificate can't last {} days; give --days from {} to {}", days,
                          days_min, kCertificateDaysMax),
              "days");
}

}  // namespace

bool is_node_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name != "ca" &&
         std::ranges::all_of(name, [](char c) {
           return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
         });
}

CertificateFiles ca_files(const std::string& folder) {
  return {folder + "/ca.pem", folder + "/ca.key"};
}

CertificateFiles node_files(const std::string& folder, const std::string& node) {
  return {folder + "/" + node + ".pem", folder + "/" + node + ".key"};
}

Result<CertificateFiles> make_ca(const CaOrder& order) {
  if (!is_node_name(order.cluster))
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is no cluster name; give --cluster at most 64 letters, digits, "
                            "'-', '_' or '.'",
                            order.cluster),
                "cluster");
  if (auto days = check_days(order.days, 1); !days) return std::unexpected(days.error());
  if (auto made = make_folder(order.folder); !made) return std::unexpected(made.error());
  const CertificateFiles files = ca_files(order.folder);
  for (const std::string& path : {files.certificate, files.key})
    if (std::filesystem::exists(std::filesystem::symlink_status(path)))
      return fail(ErrorCode::conflict,
                  fmt::format("{} exists, and a new CA would make every certificate of the cluster "
                              "worthless; choose another --dir, or move the old files away first",
                              path));
  Key key(EVP_EC_gen("P-256"));
  TROUPE_CHECK(key != nullptr);
  Certificate ca = begin(key.get(), order.now, order.days, order.cluster, "troupe CA");
  X509_set_issuer_name(ca.get(), X509_get_subject_name(ca.get()));
  const Issuer self{nullptr, key.get()};
  add_extension(ca.get(), self, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(ca.get(), self, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(ca.get(), self, NID_subject_key_identifier, "hash");
  TROUPE_CHECK(X509_sign(ca.get(), key.get(), EVP_sha256()) > 0);
  if (auto written = write_file(files.key, pem_of(key.get()), 0600, IfIssued::refuse); !written)
    return std::unexpected(written.error());
  if (auto written = write_file(files.certificate, pem_of(ca.get()), 0644, IfIssued::refuse);
      !written)
    return std::unexpected(written.error());
  if (auto secret = ensure_cluster_secret(order.folder); !secret)
    return std::unexpected(secret.error());
  return files;
}

Result<CertificateFiles> issue_certificate(const NodeOrder& order) {
  if (!is_node_name(order.node))
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is no node name; give at most 64 letters, digits, '-', '_' or "
                            "'.' (and not \"ca\")",
                            order.node),
                "node");
  if (auto days = check_days(order.days, 0); !days) return std::unexpected(days.error());
  auto names = subject_names(order);
  if (!names) return std::unexpected(names.error());
  auto ca = load_ca(order.folder);
  if (!ca) return std::unexpected(ca.error());
  const CertificateFiles files = node_files(order.folder, order.node);
  if (order.if_issued == IfIssued::refuse)
    for (const std::string& path : {files.certificate, files.key})
      if (std::filesystem::exists(std::filesystem::symlink_status(path)))
        return fail(
            ErrorCode::conflict,
            fmt::format("{} exists; add --replace to issue a new certificate and key for {}", path,
                        order.node));
  Key key(EVP_EC_gen("P-256"));
  TROUPE_CHECK(key != nullptr);
  Certificate node = begin(key.get(), order.now, order.days, ca->cluster, order.node);
  if (ASN1_TIME_compare(X509_get0_notAfter(node.get()), X509_get0_notAfter(ca->certificate.get())) >
      0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the CA in {} ends before {} days have passed; give fewer --days, or "
                            "make a new CA in another folder",
                            order.folder, order.days),
                "days");
  X509_set_issuer_name(node.get(), X509_get_subject_name(ca->certificate.get()));
  const Issuer issuer{ca->certificate.get(), ca->key.get()};
  add_extension(node.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(node.get(), issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(node.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(node.get(), issuer, NID_subject_key_identifier, "hash");
  add_extension(node.get(), issuer, NID_authority_key_identifier, "keyid:always");
  TROUPE_CHECK(X509_add1_ext_i2d(node.get(), NID_subject_alt_name, names->get(), 0,
                                 X509V3_ADD_DEFAULT) == 1);
  TROUPE_CHECK(X509_sign(node.get(), ca->key.get(), EVP_sha256()) > 0);
  if (auto secret = ensure_cluster_secret(order.folder); !secret)
    return std::unexpected(secret.error());
  // The key first: a reader in between finds that it does not fit and keeps what it has.
  if (auto written = write_file(files.key, pem_of(key.get()), 0600, order.if_issued); !written)
    return std::unexpected(written.error());
  if (auto written = write_file(files.certificate, pem_of(node.get()), 0644, order.if_issued);
      !written)
    return std::unexpected(written.error());
  return files;
}

}  // namespace troupe
