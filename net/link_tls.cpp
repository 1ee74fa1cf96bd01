#include "net/link_tls.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <ctime>

#include "config/check.h"
#include "config/limits.h"
#include "net/link_preamble.h"
#include "net/openssl_types.h"
#include "net/socket_bio.h"

namespace troupe {

namespace {

using namespace openssl;

/// As ALPN writes lists: each name behind its length.
constexpr unsigned char kServices[] =
    "\x04"
    "basp"
    "\x04"
    "beat"
    "\x04"
    "file";
constexpr size_t kServiceBytes = 5;

/// Chosen by the acceptor: the first one of ours that the dialer offers.
int select_service(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                   const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, chosen_size, kServices, sizeof kServices - 1, offered,
                            offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

/// The chain first, then whose it is: a stranger's handshake fails, whoever signed it.
int verify_peer(X509_STORE_CTX* store, void* tls) {
  if (X509_verify_cert(store) != 1) return 0;
  if (!static_cast<const LinkTls*>(tls)->node_of(X509_STORE_CTX_get0_cert(store)).empty()) return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

/// The one name of `nodes` among the certificate's dNSNames; empty if there is none or several.
std::string named_node(const X509* certificate, const std::set<std::string>& nodes) {
  Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  ERR_clear_error();
  if (!names) return {};
  std::string found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    const std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                           static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    if (!nodes.contains(text)) continue;
    if (!found.empty() && found != text) return {};
    found = text;
  }
  return found;
}

/// What is wrong with the own certificate, as its peers would judge it; empty if nothing.
std::string own_fault(SSL_CTX* context) {
  StoreContext store(X509_STORE_CTX_new());
  TROUPE_CHECK(store && X509_STORE_CTX_init(store.get(), SSL_CTX_get_cert_store(context),
                                            SSL_CTX_get0_certificate(context), nullptr) == 1);
  X509_STORE_CTX_set_purpose(store.get(), X509_PURPOSE_SSL_CLIENT);
  const bool fine = X509_verify_cert(store.get()) == 1;
  ERR_clear_error();
  return fine ? std::string()
              : X509_verify_cert_error_string(X509_STORE_CTX_get_error(store.get()));
}

std::chrono::sys_seconds end_of(const X509* certificate) {
  std::tm utc{};
  TROUPE_CHECK(ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &utc) == 1);
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&utc)));
}

}  // namespace

std::string_view name_of(LinkService service) {
  switch (service) {
    case LinkService::basp:
      return "basp";
    case LinkService::beat:
      return "beat";
    case LinkService::file:
      return "file";
  }
  return "basp";
}

LinkFiles link_files(const std::string& folder, const std::string& node) {
  return {folder + "/ca.pem", folder + "/" + node + ".pem", folder + "/" + node + ".key"};
}

Result<std::shared_ptr<const LinkTls>> LinkTls::load(const LinkFiles& files, const std::string& own,
                                                     const std::set<std::string>& peers) {
  std::shared_ptr<LinkTls> tls(new LinkTls());
  tls->own_ = own;
  tls->peers_ = peers;
  SSL_CTX* context = tls->context_ = SSL_CTX_new(TLS_method());
  TROUPE_CHECK(context != nullptr);
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  // The fastest first where processors have AES; both ends are ours.
  TROUPE_CHECK(SSL_CTX_set_ciphersuites(context,
                                        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                        "TLS_CHACHA20_POLY1305_SHA256") == 1);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_max_early_data(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  // One recv for several records. What was read ahead lies in the session: read until want_read.
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, kLinkBufferBytes);
  // The CA signs node certificates itself: no chain is longer.
  SSL_CTX_set_verify_depth(context, 0);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(context, verify_peer, tls.get());
  SSL_CTX_set_alpn_select_cb(context, select_service, nullptr);
  ERR_clear_error();
  auto refuse = [](std::string sentence) {
    ERR_clear_error();
    return fail(ErrorCode::invalid_argument, std::move(sentence));
  };
  if (SSL_CTX_load_verify_file(context, files.ca.c_str()) != 1)
    return refuse(fmt::format(
        "{}: no CA certificate can be read from it; troupe certs init makes one", files.ca));
  if (SSL_CTX_use_certificate_file(context, files.certificate.c_str(), SSL_FILETYPE_PEM) != 1)
    return refuse(
        fmt::format("{}: no certificate can be read from it; troupe certs issue {} makes one",
                    files.certificate, own));
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    return refuse(
        fmt::format("{}: not the private key of {}; copy both from the folder of troupe "
                    "certs",
                    files.key, files.certificate));
  const X509* certificate = SSL_CTX_get0_certificate(context);
  std::set<std::string> all = peers;
  all.insert(own);
  if (named_node(certificate, all) != own)
    return refuse(
        fmt::format("{}: is not a certificate of node {} alone; troupe certs issue {} "
                    "makes one",
                    files.certificate, own, own));
  if (const std::string fault = own_fault(context); !fault.empty())
    return refuse(
        fmt::format("{}: would be refused by every peer ({}); troupe certs issue {} "
                    "--replace makes a new one under {}",
                    files.certificate, fault, own, files.ca));
  tls->expires_ = end_of(certificate);
  return tls;
}

LinkTls::~LinkTls() { SSL_CTX_free(context_); }

std::string LinkTls::node_of(const x509_st* certificate) const {
  std::set<std::string> all = peers_;
  all.insert(own_);
  std::string name = named_node(certificate, all);
  // Nobody else has this node's key.
  return name == own_ ? std::string() : name;
}

LinkSession::LinkSession(std::shared_ptr<const LinkTls> tls, int socket)
    : tls_(std::move(tls)), ssl_(SSL_new(tls_->native())) {
  TROUPE_CHECK(ssl_ != nullptr);
  BIO* bio = socket_bio(socket);
  SSL_set_bio(ssl_, bio, bio);
}

std::unique_ptr<LinkSession> LinkSession::accept(std::shared_ptr<const LinkTls> tls, int socket) {
  std::unique_ptr<LinkSession> session(new LinkSession(std::move(tls), socket));
  SSL_set_accept_state(session->ssl_);
  return session;
}

std::unique_ptr<LinkSession> LinkSession::dial(std::shared_ptr<const LinkTls> tls, int socket,
                                               LinkService service) {
  std::unique_ptr<LinkSession> session(new LinkSession(std::move(tls), socket));
  SSL_set_connect_state(session->ssl_);
  // Zero is success here.
  TROUPE_CHECK(SSL_set_alpn_protos(session->ssl_,
                                   kServices + kServiceBytes * static_cast<size_t>(service),
                                   kServiceBytes) == 0);
  return session;
}

LinkSession::~LinkSession() { SSL_free(ssl_); }

LinkSession::Status LinkSession::status_of(int result) {
  const int why = SSL_get_error(ssl_, result);
  if (why == SSL_ERROR_WANT_READ) return Status::want_read;
  if (why == SSL_ERROR_WANT_WRITE) return Status::want_write;
  if (why == SSL_ERROR_ZERO_RETURN) return Status::closed;
  const unsigned long error = ERR_peek_error();
  const int reason = ERR_GET_REASON(error);
  const long verdict = SSL_get_verify_result(ssl_);
  const char* words = error ? ERR_reason_error_string(error) : nullptr;
  detail_ = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : words ? words : "";
  if (verdict == X509_V_ERR_CERT_HAS_EXPIRED)
    why_ = LinkRefusal::expired;
  else if (verdict == X509_V_ERR_APPLICATION_VERIFICATION)
    why_ = LinkRefusal::foreign_node;
  else if (verdict != X509_V_OK)
    why_ = LinkRefusal::untrusted;
  else if (why == SSL_ERROR_SYSCALL || error == 0 || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
    why_ = LinkRefusal::hung_up;
  else if (reason == SSL_R_UNSUPPORTED_PROTOCOL)
    why_ = LinkRefusal::old_tls;
  else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
    why_ = LinkRefusal::no_certificate;
  else if (reason == SSL_R_NO_APPLICATION_PROTOCOL)
    why_ = LinkRefusal::no_service;
  else if (reason >= SSL_AD_REASON_OFFSET)
    why_ = LinkRefusal::refused_there;
  else
    why_ = LinkRefusal::not_tls;
  ERR_clear_error();
  return Status::failed;
}

LinkSession::Status LinkSession::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  return result == 1 ? established() : status_of(result);
}

LinkSession::Status LinkSession::established() {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  const std::string_view chosen(reinterpret_cast<const char*>(name), size);
  bool known = false;
  for (size_t i = 0; i < kLinkServices; ++i) {
    if (chosen != name_of(static_cast<LinkService>(i))) continue;
    service_ = static_cast<LinkService>(i);
    known = true;
  }
  if (!known) {
    why_ = LinkRefusal::no_service;
    return Status::failed;
  }
  const X509* certificate = SSL_get0_peer_certificate(ssl_);
  if (certificate) node_ = tls_->node_of(certificate);
  if (node_.empty()) {
    why_ = LinkRefusal::foreign_node;
    return Status::failed;
  }
  return Status::ok;
}

LinkSession::Io LinkSession::read(std::span<uint8_t> room) {
  ERR_clear_error();
  size_t got = 0;
  const int result = SSL_read_ex(ssl_, room.data(), room.size(), &got);
  if (result == 1) return {Status::ok, got};
  return {status_of(result), 0};
}

LinkSession::Io LinkSession::write(std::span<const uint8_t> bytes) {
  ERR_clear_error();
  size_t put = 0;
  const int result = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &put);
  if (result == 1) return {Status::ok, put};
  return {status_of(result), 0};
}

bool LinkSession::close_sending() {
  ERR_clear_error();
  const int result = SSL_shutdown(ssl_);
  const bool again = result < 0 && SSL_get_error(ssl_, result) == SSL_ERROR_WANT_WRITE;
  ERR_clear_error();
  return !again;  // what else can go wrong, the next read or write meets too
}

std::array<uint8_t, 32> LinkSession::binding() const {
  std::array<uint8_t, 32> out{};
  TROUPE_CHECK(SSL_export_keying_material(ssl_, out.data(), out.size(), kLinkBindingLabel,
                                          sizeof kLinkBindingLabel - 1, nullptr, 0, 0) == 1);
  return out;
}

}  // namespace troupe
